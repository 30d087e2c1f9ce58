#include <leat/sim.hpp>

#include <leat/detail/blocking_queue.hpp>
#include <leat/detail/context_node.hpp>
#include <leat/detail/fork_scope.hpp>
#include <leat/detail/timers.hpp>
#include <leat/inspect.hpp>

#include "destroy_chain.hpp"
#include "run_turn.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <random>
#include <utility>

namespace leat {
namespace detail {
namespace {

/// How far the clock may move while a world that is left lets its tasks end.
constexpr std::int64_t grace = 60'000'000'000;
/// And how many turns they get, beside a hundred for each.
constexpr std::size_t turns_at_the_end = 100'000;

std::uint64_t default_seed()
{
    if (const char* const given = std::getenv("LEAT_SEED"); given != nullptr && *given != '\0')
        return std::strtoull(given, nullptr, 0);
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
}

}  // namespace

// One thread does everything, so nothing here is locked. A blocking call is run when it is pushed, in the
// middle of its task's await_suspend: the task has parked by then and touches nothing.
class sim_scheduler final : public scheduler {
    class inline_queue final : public blocking_queue {
    public:
        explicit inline_queue(sim_scheduler& of) noexcept : of_{of}
        {
        }
        void job_pushed() noexcept override
        {
            for (;;) {
                blocking_job* job = nullptr;
                {
                    std::lock_guard hold{static_cast<spinlock&>(*this)};
                    job = take();
                }
                if (job == nullptr)
                    return;
                task_root& root = *job->root;
                job->run();
                root.end_call(*job);
                of_.ready(root, nullptr);
            }
        }

    private:
        sim_scheduler& of_;
    };

public:
    sim_scheduler(std::uint64_t seed, sim::world::script* choices)
        : seed_{seed}, random_{seed}, script_{choices}, shard_{timer_shard::make(*this, 0, 0)},
          blocking_{*this}
    {
        root_context_ = cancel_node::make(nullptr);
        unstoppable_ = cancel_node::make(nullptr);
        here_.sched = this;
        here_.scripted = true;
        before_ = worlds_of_thread();
        set_ambient_scheduler(this);
        enlist();
    }
    ~sim_scheduler()
    {
        if (script_ == nullptr && std::uncaught_exceptions() > exceptions_before_)
            std::fprintf(stderr,
                         "leat: a world was left by an exception; world{%llu} shows it again, and so does "
                         "LEAT_SEED=%llu if it is given no seed\n",
                         static_cast<unsigned long long>(seed_), static_cast<unsigned long long>(seed_));
        script_ = nullptr;  // the end is not part of what is explored
        root_context_->canceller()->cancel(errc::cancelled);
        const std::int64_t until = from_now(grace);
        // Bounded in turns, too: a task that is deaf may go on for ever without letting the clock move.
        for (std::size_t turns = turns_at_the_end + 100 * live_; live_ != 0 && turns != 0; --turns)
            if (!run_one() && !move_clock(until))
                break;
        shard_.close();
        destroy_left();
        forget();
        root_context_->unref();
        static_cast<cancel_node*>(unstoppable_)->unref();
        shard_.leave();
        leave_thread();
        if (unhandled_)
            std::fprintf(stderr, "leat: a detached task failed while its world ended: %s\n",
                         describe(unhandled_).c_str());
    }

    void ready(task_root& root, turn*) noexcept override
    {
        ready_.push_back(&root);
    }
    void ready_later(task_root& root, turn*) noexcept override
    {
        ready_.push_back(&root);
    }
    void task_created(turn*) noexcept override
    {
        ++live_;
    }
    void task_ended(turn*) noexcept override
    {
        --live_;
    }
    std::int64_t now() noexcept override
    {
        return clock_;
    }
    timer_shard& timers(turn*) noexcept override
    {
        return shard_;
    }
    void timer_armed(timer_shard&, std::int64_t, turn*) noexcept override
    {
    }
    blocking_queue& blocking() noexcept override
    {
        return blocking_;
    }
    void unhandled(task_root&, std::exception_ptr thrown) noexcept override
    {
        if (!unhandled_)
            unhandled_ = std::move(thrown);
    }
    std::uint32_t choose(std::uint32_t bound) noexcept override
    {
        if (bound <= 1)
            return 0;
        if (script_ != nullptr)
            return script_->choose(bound);
        return static_cast<std::uint32_t>(
            std::uniform_int_distribution<std::uint32_t>{0, bound - 1}(random_));
    }
    std::uint64_t new_id(turn* by, std::uint64_t above) noexcept override
    {
        // One that has moved here may have a larger id than those of this world.
        if (by != nullptr && by->root != nullptr)
            above = std::max(above, by->root->id());
        return ids_ = std::max(ids_, above) + 1;
    }

    /// One turn of a task, if one is ready.
    bool run_one()
    {
        if (ready_.empty())
            return false;
        // The order of those that stay is kept, so that a schedule is a sequence of small choices.
        const std::size_t chosen = choose(static_cast<std::uint32_t>(ready_.size()));
        task_root* const root = ready_[chosen];
        ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(chosen));
        turn* const outer = current_turn();
        set_current_turn(&here_);
        run_turn(here_, *root);
        set_current_turn(outer);
        return true;
    }
    /// Moves the clock to the next timer, if that is not later than `until`.
    bool move_clock(std::int64_t until)
    {
        const std::int64_t next = shard_.wheel.earliest();
        if (next == timer_wheel::never || next > until)
            return false;
        clock_ = std::max(clock_, next);
        shard_.run(clock_, nullptr);
        return true;
    }
    bool step()
    {
        return run_one() || move_clock(timer_wheel::never - 1);
    }
    void advance(std::int64_t by)
    {
        const std::int64_t until = from_now(by);
        do {
            while (run_one()) {}
        } while (move_clock(until));
        clock_ = until;
    }

    std::size_t live() const noexcept
    {
        return live_;
    }
    std::uint64_t seed() const noexcept
    {
        return seed_;
    }
    std::exception_ptr take_unhandled() noexcept
    {
        return std::exchange(unhandled_, nullptr);
    }
    bool scripted() const noexcept
    {
        return script_ != nullptr;
    }

private:
    /// At the latest the last moment there is.
    std::int64_t from_now(std::int64_t span) const noexcept
    {
        constexpr std::int64_t last = timer_wheel::never - 1;
        return span < last - clock_ ? clock_ + span : last;
    }
    /// Worlds may end in any order.
    void leave_thread() noexcept
    {
        sim_scheduler* inner = nullptr;
        for (auto* each = static_cast<sim_scheduler*>(worlds_of_thread()); each != this;
             each = static_cast<sim_scheduler*>(each->before_)) {
            if (each == nullptr) {
                std::fputs("leat: a world was destroyed on another thread than that which made it\n", stderr);
                std::terminate();
            }
            inner = each;
        }
        if (inner == nullptr)
            set_ambient_scheduler(before_);
        else
            inner->before_ = before_;
    }
    void destroy_left() noexcept
    {
        for (;;) {
            std::vector<task_root*> left{ready_.begin(), ready_.end()};
            for (task_root* const root : ready_)
                add_unknown_owners(*root, left);
            ready_.clear();
            claim_parked_tasks(left, [this](const scheduler& of) { return &of == this; });
            if (left.empty())
                return;
            destroy_chains(left);
        }
    }

    std::uint64_t seed_;
    std::mt19937_64 random_;
    sim::world::script* script_;
    timer_shard& shard_;
    inline_queue blocking_;
    turn here_;
    scheduler* before_ = nullptr;
    std::vector<task_root*> ready_;
    std::int64_t clock_ = 0;
    std::size_t live_ = 0;
    std::uint64_t ids_ = 0;
    std::exception_ptr unhandled_;
    int exceptions_before_ = std::uncaught_exceptions();
};

}  // namespace detail

namespace sim {

world::world() : world{detail::default_seed()}
{
}

world::world(std::uint64_t seed) : sched_{detail::make_owned<detail::sim_scheduler>(seed, nullptr)}
{
}

world::world(script& choices) : sched_{detail::make_owned<detail::sim_scheduler>(std::uint64_t{0}, &choices)}
{
}

world::~world() = default;

bool world::step()
{
    const bool more = sched_->step();
    rethrow_unhandled();
    return more;
}

void world::settle()
{
    while (sched_->run_one())
        rethrow_unhandled();
}

void world::advance(clock::duration by)
{
    if (by < clock::duration::zero())
        throw usage_error{"leat: the clock of a world does not go back"};
    sched_->advance(by.count());
    rethrow_unhandled();
}

clock::duration world::now() const noexcept
{
    return clock::duration{sched_->now()};
}

std::size_t world::live_tasks() const noexcept
{
    return sched_->live();
}

std::string world::report() const
{
    return inspect::report(get_executor());
}

std::uint64_t world::seed() const noexcept
{
    return sched_->seed();
}

executor world::get_executor() const noexcept
{
    return executor{*sched_};
}

context world::context() const noexcept
{
    sched_->root_context().ref();
    return detail::make_context(&sched_->root_context());
}

void world::turn_or_deadlock()
{
    if (sched_->step()) {
        rethrow_unhandled();
        return;
    }
    std::string text = "every task waits for another, and no timer is set";
    if (!sched_->scripted())
        text += " (seed " + std::to_string(seed()) +
                "; give it to the world, or set LEAT_SEED to it, to see this again)";
    throw deadlock_error{text + '\n' + report()};
}

void world::rethrow_unhandled()
{
    if (const std::exception_ptr thrown = sched_->take_unhandled())
        std::rethrow_exception(thrown);
}

detail::spawn_site world::site(const spawn_options& options, detail::location place) const
{
    detail::spawn_site where;
    where.sched = sched_.get();
    where.by = nullptr;
    where.context =
        options.context.get() != nullptr ? &options.context.get()->node() : &sched_->root_context();
    where.name = options.name;
    where.place = place;
    return where;
}

std::uint32_t world::script::choose(std::uint32_t bound)
{
    if (at_ == choices_.size())
        choices_.push_back({0, bound});
    return std::min(choices_[at_++].taken, bound - 1);
}

bool world::script::next()
{
    while (!choices_.empty()) {
        if (++choices_.back().taken < choices_.back().bound) {
            at_ = 0;
            return true;
        }
        choices_.pop_back();
    }
    return false;
}

std::string world::script::describe() const
{
    std::string text;
    for (const choice& each : choices_) {
        if (!text.empty())
            text += ' ';
        text += std::to_string(each.taken);
        text += '/';
        text += std::to_string(each.bound);
    }
    return text;
}

explore_result explore(const explore_options& options, const detail::callback<void(world&)>& test)
{
    explore_result done;
    if (options.random_from != 0) {
        for (; done.schedules < options.schedules; ++done.schedules) {
            const std::uint64_t seed = options.random_from + done.schedules;
            try {
                world w{seed};
                test(w);
            } catch (...) {
                std::fprintf(stderr, "leat: explore failed with seed %llu\n",
                             static_cast<unsigned long long>(seed));
                throw;
            }
        }
        return done;
    }
    world::script choices;
    while (done.schedules < options.schedules) {
        ++done.schedules;
        choices.rewind();
        try {
            world w{choices};
            test(w);
        } catch (...) {
            std::fprintf(stderr, "leat: explore failed in schedule %zu: %s\n", done.schedules,
                         choices.describe().c_str());
            throw;
        }
        if (!choices.next()) {
            done.exhausted = true;
            break;
        }
    }
    return done;
}

}  // namespace sim
}  // namespace leat
