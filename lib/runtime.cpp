#include <leat/runtime.hpp>

#include "pool.hpp"

namespace leat {

runtime::runtime() : runtime{runtime_options{}}
{
}

runtime::runtime(runtime_options options) : pool_{detail::make_owned<detail::pool>(std::move(options))}
{
}

runtime::~runtime() = default;

executor runtime::get_executor() const noexcept
{
    return executor{*pool_};
}

context runtime::context() const noexcept
{
    pool_->root_context().ref();
    return detail::make_context(&pool_->root_context());
}

void runtime::stop() noexcept
{
    pool_->stop();
}

runtime_metrics runtime::metrics() const
{
    return pool_->metrics();
}

void runtime::refuse_worker(const char* what) const
{
    if (detail::current_turn() != nullptr)
        throw usage_error{
            std::string{"leat: "} + what +
            "() in a task would block its worker, and with it whatever it waits for: co_await the "
            "task instead"};
}

detail::spawn_site runtime::site(const spawn_options& options, detail::location place) const
{
    detail::spawn_site where;
    where.sched = pool_.get();
    where.by = pool_->worker_of(detail::current_turn());
    where.context =
        options.context.get() != nullptr ? &options.context.get()->node() : &pool_->root_context();
    where.name = options.name;
    where.place = place;
    return where;
}

void runtime::enter_block_on() noexcept
{
    pool_->enter_block_on();
}

void runtime::leave_block_on()
{
    pool_->leave_block_on();
    if (const std::string report = pool_->deadlock(); !report.empty())
        throw deadlock_error{report};
}

}  // namespace leat
