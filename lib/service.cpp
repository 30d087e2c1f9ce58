// What serve() needs that depends on no main, and the two halves of systemd's protocol for services that need no
// library: a datagram to the socket named by NOTIFY_SOCKET. (Its other half, sockets that are passed, is in net.cpp.)
#include <leat/asio/serve.hpp>

#include <leat/asio/executor.hpp>
#include <leat/inspect.hpp>

#include <asio/post.hpp>
#include <asio/signal_set.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace leat {

signal_list::signal_list(std::initializer_list<int> signals)
{
    if (signals.size() > numbers_.size())
        throw usage_error{"leat: a service listens to eight signals at most"};
    for (const int each : signals)
        numbers_[count_++] = each;
}

namespace detail {
namespace {

service* service_of_task()
{
    const context own = this_task::context();
    const std::shared_ptr<service>* const found = own.value(service_key);
    return found != nullptr ? found->get() : nullptr;
}

}  // namespace

// ---- Draining ------------------------------------------------------------------------------------

// Above everything: how long the drain lasts is nobody's business but the supervisor's.
service::service() : drain_{with_cancel(background())}
{
}

void service::begin_to_drain(int signal)
{
    static_cast<void>(notify_service_manager("STOPPING=1"));
    drain_.second(std::make_exception_ptr(signal_error{signal}));
}

void service::ready() noexcept
{
    if (!ready_.exchange(true, std::memory_order_relaxed))
        static_cast<void>(notify_service_manager("READY=1"));
}

task<service_end> supervise(receiver<int> signals, receiver<void> over, service& of,
                            std::chrono::nanoseconds grace, canceller& hard)
{
    bool heard_all = false;
    bool drains = false;
    clock::time_point until{};
    for (;;) {
        bool ended = false;
        bool grace_over = false;
        std::optional<int> signal;
        co_await select(on(over.recv(), [&] { ended = true; }),
                        on_if(!heard_all, signals.recv(),
                              [&](std::optional<int> got) {
                                  signal = got;
                                  heard_all = !got;
                              }),
                        on_if(drains, after(drains ? until - clock::now() : clock::duration{}),
                              [&] { grace_over = true; }));
        if (ended)
            co_return service_end::over;
        if (signal && !drains) {
            drains = true;
            // No longer than a year, so that it does not overflow.
            until = clock::now() + std::min<std::chrono::nanoseconds>(grace, std::chrono::hours{24 * 365});
            of.begin_to_drain(*signal);
        } else if (signal) {
            hard(std::make_exception_ptr(signal_error{*signal}));
            co_return service_end::cancelled;
        } else if (grace_over) {
            hard(of.drain().cause());
            co_return service_end::cancelled;
        }
    }
}

task<bool> wait_for_end(receiver<void> over, const serve_options& options)
{
    bool ended = false;
    co_await select(on(over.recv(), [&] { ended = true; }), on(after(options.cancel_grace), [] {}));
    if (!ended) {
        const std::string report = inspect::report(this_task::executor());
        if (options.on_stuck)
            options.on_stuck(report);
        else
            std::fprintf(stderr, "leat: the service does not end; its tasks:\n%s", report.c_str());
    }
    co_return ended;
}

// ---- Signals -------------------------------------------------------------------------------------

// The set is touched by handlers of the pool's io_context alone, which run one at a time, except when it is made.
// The handler that waits keeps the state; stop() lets go of it.
struct signal_source::state : std::enable_shared_from_this<state> {
    explicit state(const executor& on) : home{on}, set{on}
    {
    }
    void listen()
    {
        set.async_wait([self = shared_from_this()](std::error_code failed, int signal) {
            // A signal may have been on its way when stop() cancelled the set: then nobody would cancel the next wait.
            if (failed || self->stopped)
                return;
            try {
                static_cast<void>(self->heard.try_send(signal));
                self->listen();
            } catch (const std::bad_alloc&) {
                // What has been heard counts. Without memory no more is: the grace still ends the service.
            }
        });
    }
    void stop() noexcept
    {
        stopped = true;
        std::error_code ignored;
        set.cancel(ignored);
    }

    executor home;
    asio::basic_signal_set<executor> set;
    channel<int> heard{unbounded};
    bool stopped = false;
};

signal_source::signal_source(const signal_list& signals)
    : state_{std::make_shared<state>(this_task::executor())}
{
    for (const int each : signals)
        state_->set.add(each);
    state_->listen();
}

signal_source::~signal_source()
{
    try {
        asio::post(state_->home, [held = state_] { held->stop(); });
    } catch (...) {
        // No memory: it listens until its runtime ends, which is soon.
    }
}

receiver<int> signal_source::received() const
{
    return receiver<int>{state_->heard};
}

kept_dispositions::kept_dispositions(const signal_list& signals) noexcept : signals_{signals}
{
    std::size_t i = 0;
    for (const int each : signals_)
        ::sigaction(each, nullptr, &before_[i++]);
}

kept_dispositions::~kept_dispositions()
{
    std::size_t i = 0;
    for (const int each : signals_)
        ::sigaction(each, &before_[i++], nullptr);
}

}  // namespace detail

context drain_context()
{
    const detail::service* const around = detail::service_of_task();
    return around != nullptr ? around->drain() : background();
}

bool draining()
{
    const detail::service* const around = detail::service_of_task();
    return around != nullptr && around->drain().cancelled();
}

void service_ready()
{
    if (detail::service* const around = detail::service_of_task())
        around->ready();
}

bool notify_service_manager(std::string_view state) noexcept
{
    const char* const where = std::getenv("NOTIFY_SOCKET");
    if (where == nullptr || (where[0] != '/' && where[0] != '@'))
        return false;
    ::sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::size_t length = std::strlen(where);
    if (length >= sizeof address.sun_path)
        return false;
    std::memcpy(address.sun_path, where, length);
    // An abstract name begins with a NUL and ends where its length says.
    if (where[0] == '@')
        address.sun_path[0] = '\0';
    const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return false;
    const auto size = static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + length);
    const auto sent = ::sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                               reinterpret_cast<const ::sockaddr*>(&address), size);
    ::close(descriptor);
    return sent == static_cast<::ssize_t>(state.size());
}

}  // namespace leat
