#include <leat/inspect.hpp>

#include <leat/detail/context_node.hpp>

#include "chain_reader.hpp"
#include "for_each_task.hpp"

#include <algorithm>
#include <ostream>
#include <sstream>

namespace leat {
namespace detail {
namespace {

#if LEAT_REGISTRY
/// Deeper chains are cut short in reports.
constexpr std::size_t longest_chain = 64;
#endif

std::string words(const inspect::frame_info& place)
{
    return place.function + " (" + place.file + ':' + std::to_string(place.line) + ')';
}

}  // namespace

#if LEAT_REGISTRY
inspect::frame_info describe_place(location place)
{
    return {place.function(), place.file(), place.line()};
}
#endif

std::string title(const inspect::task_info& task)
{
    std::string text = "task " + std::to_string(task.id);
    if (!task.name.empty())
        text += " \"" + task.name + '"';
    return text;
}

std::string spawned_in(const inspect::task_info& task, const char* separator)
{
    if (task.spawned_at.function.empty())
        return {};
    return separator + ("spawned in " + words(task.spawned_at));
}

namespace {

/// What follows a lock that this task has; nothing if there is none.
std::string held_by(std::uint64_t id, const std::vector<inspect::task_info>& all)
{
    if (id == 0)
        return {};
    inspect::task_info unknown;
    unknown.id = id;
    const auto found =
        std::lower_bound(all.begin(), all.end(), id,
                         [](const inspect::task_info& task, std::uint64_t of) { return task.id < of; });
    const bool there = found != all.end() && found->id == id;
    return ", held by " + title(there ? *found : unknown);
}

}  // namespace

void name_holders(std::vector<inspect::task_info>& all)
{
    for (inspect::task_info& each : all) {
        if (each.cases.empty())
            each.waits_for += held_by(each.held_by, all);
        const bool tells = each.waits_for.ends_with(':');
        for (inspect::case_info& one : each.cases) {
            one.waits_for += held_by(one.held_by, all);
            if (tells)
                each.waits_for += (&one == each.cases.data() ? " " : ", or ") + one.waits_for;
        }
    }
}

inspect::task_info chain_reader::read_head(const task_root& root)
{
    inspect::task_info info;
    info.id = root.id();
    info.name = root.name();
#if LEAT_REGISTRY
    info.spawned_at = describe_place(root.spawned_at());
#endif
    return info;
}

inspect::task_info chain_reader::read(task_root& root)
{
    inspect::task_info info = read_head(root);
    task_root::word seen = root.word_.load(std::memory_order_acquire);
    if ((seen == task_root::parked || seen == task_root::shielded || seen == task_root::calling) &&
        root.word_.compare_exchange_strong(seen, task_root::inspected, std::memory_order_acq_rel)) {
        info.parked = true;
        try {
            read_chain(root, info);
        } catch (...) {
            root.word_.store(seen, std::memory_order_seq_cst);
            throw;
        }
        root.word_.store(seen, std::memory_order_seq_cst);
    }
    return info;
}

void chain_reader::read_chain(task_root& root, inspect::task_info& into)
{
#if LEAT_REGISTRY
    into.waits_for = root.waits_for();
    if (const wait_description* const through = root.waits_through())
        through->describe(into);
    std::coroutine_handle<> frame = root.current;
    while (frame && into.chain.size() < longest_chain) {
        const promise_base& promise = promise_base::of(frame);
        into.chain.push_back(describe_place(promise.where));
        if (promise.awaiter == nullptr)
            break;
        frame = promise.awaiter->parent;
    }
#else
    static_cast<void>(root);
    static_cast<void>(into);
#endif
}

}  // namespace detail

namespace inspect {

std::vector<task_info> tasks(const executor& of)
{
    std::vector<task_info> all;
    detail::cancel_node::for_each_task([&](detail::task_root& root) {
        if (&root.sched() == &of.sched())
            all.push_back(detail::chain_reader::read(root));
    });
    of.sched().add_running(all);
    std::sort(all.begin(), all.end(), [](const task_info& a, const task_info& b) { return a.id < b.id; });
    detail::name_holders(all);
    return all;
}

void dump(std::ostream& to, const executor& of)
{
    for (const task_info& task : tasks(of)) {
        to << detail::title(task);
        if (task.parked)
            to << (task.waits_for.empty() ? " is parked" : " waits for: " + task.waits_for);
        else
            to << (task.running ? " is running" : " is running or ready to run");
        to << detail::spawned_in(task, "\n    ") << '\n';
        for (const frame_info& frame : task.chain)
            to << "    at " << detail::words(frame) << '\n';
    }
}

std::string report(const executor& of)
{
    std::ostringstream text;
    dump(text, of);
    return text.str();
}

}  // namespace inspect
}  // namespace leat
