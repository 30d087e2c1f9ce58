// A circuit breaker: a state, and a window over what has become of the last calls.
//
// The circuit has no timer: that it has been open for long enough is noticed by whoever looks next. Every change of state
// begins a new epoch; a permit knows the epoch that it was given in, and counts only in that.
#include <leat/flow/circuit_breaker.hpp>

#include <leat/detail/spinlock.hpp>

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

namespace leat {

circuit_open_error::circuit_open_error(clock::duration wait)
    : rejected_error{"leat: the circuit is open"}, wait_{wait}
{
}

/// What has become of the last calls: their number and that of the failed ones, in a ring of places. A place is one call,
/// or a tenth of the span.
class circuit_breaker::window {
    struct place {
        std::uint32_t calls = 0;
        std::uint32_t failures = 0;
    };
    static constexpr std::int64_t parts = 10;

public:
    explicit window(const trip_policy& policy)
        : policy_{policy}, part_{std::max<std::int64_t>(policy.span().count() / parts, 1)},
          places_(by_time()    ? static_cast<std::size_t>(parts) + 1
                  : by_count() ? policy.calls()
                               : 1)
    {
    }

    void clear() noexcept
    {
        std::fill(places_.begin(), places_.end(), place{});
        sum_ = {};
    }
    /// True if that is too much.
    bool note(bool failed, clock::time_point now) noexcept
    {
        if (!by_time() && !by_count()) {
            sum_.failures = failed ? sum_.failures + 1 : 0;
            return sum_.failures >= policy_.calls();
        }
        place& here = by_time() ? place_at(now) : next_place();
        add(here, failed);
        add(sum_, failed);
        return failed && sum_.calls >= policy_.calls() &&
               static_cast<double>(sum_.failures) >= policy_.part() * static_cast<double>(sum_.calls);
    }

private:
    bool by_time() const noexcept
    {
        return policy_.span() > clock::duration::zero();
    }
    bool by_count() const noexcept
    {
        return !by_time() && policy_.part() > 0;
    }
    static void add(place& to, bool failed) noexcept
    {
        ++to.calls;
        to.failures += failed;
    }
    place& forget(place& what) noexcept
    {
        sum_.calls -= what.calls;
        sum_.failures -= what.failures;
        what = {};
        return what;
    }
    place& next_place() noexcept
    {
        return forget(places_[static_cast<std::size_t>(at_++) % places_.size()]);
    }
    place& place_at(clock::time_point now) noexcept
    {
        const std::int64_t wanted = now.time_since_epoch().count() / part_;
        const auto size = static_cast<std::int64_t>(places_.size());
        for (std::int64_t each = std::max(at_ + 1, wanted - size + 1); each <= wanted; ++each)
            forget(places_[static_cast<std::size_t>(each % size)]);
        at_ = std::max(at_, wanted);
        return places_[static_cast<std::size_t>(at_ % size)];
    }

    const trip_policy policy_;
    const std::int64_t part_;
    std::vector<place> places_;
    place sum_;
    std::int64_t at_ = 0;
};

circuit_breaker::circuit_breaker(const circuit_breaker_options& options)
    : options_{options}, open_for_{options.open_for}, window_{detail::make_owned<window>(options.trip)}
{
}
circuit_breaker::~circuit_breaker() = default;

circuit_permit circuit_breaker::try_enter() noexcept
{
    const clock::time_point now = clock::now();
    std::lock_guard hold{lock_};
    look_at(now);
    if (state_ == circuit_state::closed)
        return circuit_permit{this, now, epoch_, clock::duration::zero()};
    if (state_ == circuit_state::half_open && probing_ < options_.probes) {
        ++probing_;
        return circuit_permit{this, now, epoch_, clock::duration::zero()};
    }
    ++stats_.rejected;
    const bool probed = state_ == circuit_state::half_open;
    // Another may have opened it since this one looked at the clock.
    const clock::duration since = std::max(now - opened_, clock::duration::zero());
    return circuit_permit{nullptr, now, epoch_, probed ? clock::duration::zero() : open_for_ - since};
}

circuit_state circuit_breaker::state() const noexcept
{
    const clock::time_point now = clock::now();
    std::lock_guard hold{lock_};
    look_at(now);
    return state_;
}

circuit_breaker_stats circuit_breaker::stats() const noexcept
{
    std::lock_guard hold{lock_};
    return stats_;
}

void circuit_breaker::trip() noexcept
{
    const clock::time_point now = clock::now();
    std::lock_guard hold{lock_};
    open(now);
}

void circuit_breaker::reset() noexcept
{
    std::lock_guard hold{lock_};
    close();
}

// -- under the lock ----------------------------------------------------------------------------------

void circuit_breaker::look_at(clock::time_point now) const noexcept
{
    if (state_ != circuit_state::open || now - opened_ < open_for_)
        return;
    state_ = circuit_state::half_open;
    ++epoch_;
    probing_ = 0;
    succeeded_ = 0;
}

void circuit_breaker::stay_open_longer() noexcept
{
    const clock::duration most = std::max(options_.max_open, options_.open_for);
    const double longer = static_cast<double>(open_for_.count()) * options_.open_factor;
    open_for_ = longer < static_cast<double>(most.count())
                    ? clock::duration{static_cast<std::int64_t>(longer)}
                    : most;
}

void circuit_breaker::open(clock::time_point now) noexcept
{
    if (state_ == circuit_state::closed)
        open_for_ = options_.open_for;
    state_ = circuit_state::open;
    ++epoch_;
    ++stats_.tripped;
    opened_ = now;
}

void circuit_breaker::close() noexcept
{
    state_ = circuit_state::closed;
    ++epoch_;
    window_->clear();
}

void circuit_breaker::end(std::uint64_t epoch, clock::time_point began, verdict how) noexcept
{
    const clock::time_point now = clock::now();
    if (how == verdict::success && now - began > options_.slow)
        how = verdict::failure;
    std::lock_guard hold{lock_};
    if (epoch != epoch_ || how == verdict::none) {
        ++stats_.ignored;
        if (epoch == epoch_ && state_ == circuit_state::half_open)
            --probing_;
        return;
    }
    const bool failed = how == verdict::failure;
    ++(failed ? stats_.failed : stats_.succeeded);
    if (state_ == circuit_state::closed) {
        if (window_->note(failed, now))
            open(now);
        return;
    }
    // Half open, for nobody is let in while it is open.
    --probing_;
    if (failed) {
        stay_open_longer();
        open(now);
    } else if (++succeeded_ >= options_.successes) {
        close();
    }
}

// -- permits -------------------------------------------------------------------------------------------

circuit_permit::~circuit_permit()
{
    if (of_ != nullptr)
        of_->end(epoch_, began_, circuit_breaker::verdict::none);
}

void circuit_permit::succeed() noexcept
{
    if (of_ != nullptr)
        std::exchange(of_, nullptr)->end(epoch_, began_, circuit_breaker::verdict::success);
}

void circuit_permit::fail() noexcept
{
    if (of_ != nullptr)
        std::exchange(of_, nullptr)->end(epoch_, began_, circuit_breaker::verdict::failure);
}

void circuit_permit::fail(const std::exception_ptr& thrown)
{
    if (of_ == nullptr || detail::code_of(thrown) == std::errc::operation_canceled)
        return;
    if (!of_->options_.counts || of_->options_.counts(thrown))
        fail();
    else
        succeed();
}

}  // namespace leat
