// with_signals: the end of a context by a signal.
//
// A signal_watch holds the asio::signal_set and belongs to the canceller that with_signals() returns: the
// handling lasts exactly as long. The completion handler belongs to the io_context and holds the context, which
// it cancels; it knows nothing of the watch. So the handler may run, or be destroyed, when the canceller has
// long gone, and the canceller may go on any thread while the handler runs.
//
//   - signal_set is not thread-safe. Every set of the process is touched only under `lock_of_signals`: when a
//     watch opens, when it closes, and when its io_context goes. None of the three calls anything back: Asio
//     queues the handler of a set that is destroyed. (The other choice, to post what is to be done to the
//     io_context, would let a signal that arrives after the canceller's end still be swallowed.)
//   - A canceller may outlive the runtime. signal_service is told when the io_context shuts down, and closes the
//     watches that are left. Services shut down in the opposite order of their making, so it makes sure that
//     Asio's own service for signals is made first.
//   - After the first signal nothing is under way any more, but the set stays: further signals are swallowed
//     until the canceller goes. A set that has not heard a signal counts as pending I/O, so that the pool takes
//     waiting for one for no deadlock; the end of run() does not wait for it.
//   - Asio leaves a signal with the default disposition once no set wants it. What was there before is kept
//     here, with the number of watches of each signal, and put back.
#include <leat/context.hpp>

#include <leat/detail/intrusive.hpp>
#include <leat/detail/park.hpp>

#include "reactor.hpp"

#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace leat {
namespace detail {
namespace {

class signal_service;

constinit std::mutex lock_of_signals;

/// What a signal did before anybody watched it. Under lock_of_signals.
struct disposition {
    std::size_t watches = 0;
    struct sigaction before{};
};
constinit std::array<disposition, NSIG> dispositions{};

class signal_watch final : public list_link<signal_watch>, public canceller_guard {
public:
    signal_watch(asio::io_context& io, const context& to_end, std::initializer_list<int> signals);
    ~signal_watch() override
    {
        std::lock_guard hold{lock_of_signals};
        if (set_)
            close();
    }

    /// Under lock_of_signals.
    void close() noexcept;

private:
    void add(int signal);

    std::optional<asio::signal_set> set_;  ///< empty once the io_context has gone
    std::vector<int> watched_;
};

class signal_service final : public asio::execution_context::service {
public:
    inline static asio::execution_context::id id;

    explicit signal_service(asio::execution_context& of) : service{of}
    {
        const asio::signal_set made_first{static_cast<asio::io_context&>(of)};
    }

    linked_list<signal_watch> watches;  ///< under lock_of_signals

private:
    void shutdown() noexcept override
    {
        std::lock_guard hold{lock_of_signals};
        while (signal_watch* const left = watches.front())
            left->close();
    }
};

signal_watch::signal_watch(asio::io_context& io, const context& to_end, std::initializer_list<int> signals)
{
    signal_service& service = asio::use_service<signal_service>(io);
    watched_.reserve(signals.size());
    std::lock_guard hold{lock_of_signals};
    set_.emplace(io);
    service.watches.push_back(*this);
    try {
        for (const int signal : signals)
            add(signal);
        set_->async_wait([node = to_end](const asio::error_code& failed, int signal) {
            if (failed)
                return;
            node.node().canceller()->cancel(errc::cancelled, std::make_exception_ptr(signal_error{signal}));
        });
    } catch (...) {
        close();
        throw;
    }
}

void signal_watch::add(int signal)
{
    // Asio would take zero, and numbers of its own beyond the system's.
    if (signal <= 0 || signal >= NSIG)
        throw std::system_error{std::make_error_code(std::errc::invalid_argument), "leat: with_signals"};
    disposition& of = dispositions[static_cast<std::size_t>(signal)];
    if (of.watches == 0)
        ::sigaction(signal, nullptr, &of.before);
    asio::error_code failed;
    set_->add(signal, failed);
    if (failed)
        throw std::system_error{failed, "leat: with_signals"};
    watched_.push_back(signal);
    ++of.watches;
}

void signal_watch::close() noexcept
{
    linked_list<signal_watch>::remove(*this);
    set_.reset();
    for (const int signal : watched_) {
        disposition& of = dispositions[static_cast<std::size_t>(signal)];
        if (--of.watches == 0)
            ::sigaction(signal, &of.before, nullptr);
    }
}

}  // namespace
}  // namespace detail

cancellable_context with_signals(const context& parent, std::initializer_list<int> signals)
{
    detail::scheduler* const home = detail::ambient_scheduler();
    detail::reactor* const reactor = home != nullptr ? home->io_reactor() : nullptr;
    if (reactor == nullptr)
        throw usage_error{
            "leat: with_signals() outside of a runtime, where nobody would hear them; a simulated "
            "world has no signals"};
    cancellable_context made = with_cancel(parent);
    made.second.keep(detail::make_owned<detail::signal_watch>(reactor->context(), made.first, signals));
    return made;
}

signal_error::signal_error(int number)
    : std::runtime_error{"signal " + std::to_string(number) + " (" + ::strsignal(number) + ")"},
      number_{number}
{
}

}  // namespace leat
