#include <leat/this_task.hpp>

#include "run_turn.hpp"

namespace leat {
namespace {

detail::task_root& running_root(const char* what)
{
    detail::turn* const here = detail::current_turn();
    if (here == nullptr || here->root == nullptr)
        throw usage_error{std::string{"leat: this_task::"} + what + "() outside of every task"};
    return *here->root;
}

}  // namespace

void detail::hop_operation::awaiter::hop(task_root& root, scheduler& to) noexcept
{
    turn& here = *root.now;
    here.left = true;
    scheduler& from = root.sched();
    to.task_created(nullptr);
    root.move_to(to);
    from.task_ended(&here);
    to.ready(root, nullptr);
}

namespace this_task {

leat::context context()
{
    detail::task_root& root = running_root("context");
    root.own_context();
    root.context().ref();
    return detail::make_context(&root.context());
}

std::uint64_t id()
{
    return running_root("id").id();
}

std::string_view name()
{
    return running_root("name").name();
}

leat::executor executor()
{
    return leat::executor{running_root("executor").sched()};
}

bool running() noexcept
{
    detail::turn* const here = detail::current_turn();
    return here != nullptr && here->root != nullptr;
}

}  // namespace this_task
}  // namespace leat
