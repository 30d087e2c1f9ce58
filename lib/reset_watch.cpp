#include <leat/asio/net/error.hpp>
#include <leat/asio/net/reset_watch.hpp>

#if defined(__linux__)

#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <array>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <sys/epoll.h>
#include <system_error>
#include <unistd.h>
#include <unordered_map>
#include <utility>

namespace leat::net::detail {

// The descriptor is touched on the strand alone. Contexts are ended without the lock.
struct reset_watch::state : std::enable_shared_from_this<state> {
    using strand = asio::strand<asio::any_io_executor>;

    state(const asio::any_io_executor& on, int descriptor)
        : home{asio::make_strand(on)}, epoll{descriptor}, events{home}
    {
    }
    void listen()
    {
        events.async_wait(asio::posix::descriptor_base::wait_read,
                          [self = shared_from_this()](std::error_code failed) {
                              if (failed)
                                  return;
                              try {
                                  self->look();
                                  self->listen();
                              } catch (const std::bad_alloc&) {
                                  // No memory for the next wait: from here on no reset is noticed.
                              }
                          });
    }
    std::uint64_t add(int descriptor, const context& to_end)
    {
        const std::lock_guard hold{lock};
        const std::uint64_t number = ++last;
        served.emplace(number, to_end);
        ::epoll_event nothing{};
        nothing.events = EPOLLET;
        nothing.data.u64 = number;
        // Without memory for it, nothing is noticed.
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &nothing);
        return number;
    }
    void remove(std::uint64_t number) noexcept
    {
        const std::lock_guard hold{lock};
        served.erase(number);
    }

    strand home;
    const int epoll;
    asio::posix::basic_stream_descriptor<strand> events;

private:
    void look()
    {
        std::array<::epoll_event, 32> told;
        int count = 0;
        do {
            count = ::epoll_wait(epoll, told.data(), static_cast<int>(told.size()), 0);
            for (int i = 0; i < count; ++i) {
                const ::epoll_event& each = told[static_cast<std::size_t>(i)];
                if ((each.events & EPOLLERR) != 0)
                    end(each.data.u64);
            }
        } while (count == static_cast<int>(told.size()));
    }
    void end(std::uint64_t number)
    {
        std::optional<context> of;
        {
            const std::lock_guard hold{lock};
            if (const auto found = served.find(number); found != served.end())
                of = found->second;
        }
        if (!of)
            return;
        std::exception_ptr why;
        try {
            why = std::make_exception_ptr(std::system_error{errc::peer_gone});
        } catch (const std::bad_alloc&) {
            // Ended all the same, without a cause.
        }
        of->node().canceller()->cancel(leat::errc::cancelled, std::move(why));
    }

    std::mutex lock;
    std::unordered_map<std::uint64_t, context> served;
    std::uint64_t last = 0;
};

reset_watch::reset_watch(const asio::any_io_executor& on)
{
    const int descriptor = ::epoll_create1(EPOLL_CLOEXEC);
    if (descriptor < 0)
        return;
    std::shared_ptr<state> made;
    std::error_code failed;
    try {
        made = std::make_shared<state>(on, descriptor);
        made->events.assign(descriptor, failed);
    } catch (...) {
        ::close(descriptor);
        throw;
    }
    if (failed) {
        ::close(descriptor);
        return;
    }
    state_ = std::move(made);
    state_->listen();
}

reset_watch::~reset_watch()
{
    if (!state_)
        return;
    try {
        asio::post(state_->home, [held = state_] {
            std::error_code ignored;
            held->events.close(ignored);
        });
    } catch (...) {
        // No memory: it listens until its execution context ends.
    }
}

watched_for_reset::watched_for_reset(reset_watch* by, int descriptor, const context& to_end)
{
    if (by == nullptr || !by->state_)
        return;
    number_ = by->state_->add(descriptor, to_end);
    by_ = by->state_.get();
}

watched_for_reset::~watched_for_reset()
{
    if (by_ != nullptr)
        by_->remove(number_);
}

}  // namespace leat::net::detail

#else

namespace leat::net::detail {

struct reset_watch::state {};

reset_watch::reset_watch(const asio::any_io_executor&)
{
}
reset_watch::~reset_watch() = default;

watched_for_reset::watched_for_reset(reset_watch*, int, const context&)
{
}
watched_for_reset::~watched_for_reset() = default;

}  // namespace leat::net::detail

#endif
