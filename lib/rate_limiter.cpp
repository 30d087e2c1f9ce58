// A rate limiter: a token bucket, and the line of those who wait for it.
//
//   - At the head of the line is a waiter, for whom there are not enough tokens, or nobody. A reservation that comes
//     to the head is booked at once: its tokens are taken ahead of time, and the level goes below zero.
//   - Bucket and line are under the limiter's lock, which is the innermost of all. The source of a waiter is the
//     shard of timers of the worker that it parked on: there its timer is armed. So a waiter is linked, unlinked,
//     armed and won under both locks, the shard's first; and whoever serves the line and finds somebody at its
//     head lets go of the limiter's lock, takes both, and looks again.
//     (The road not taken is the limiter's lock as the source. A select holds the locks of all its sources while
//     it links them, that of the shard among them if it also sleeps: a timer could not be armed then.)
//   - Only the waiter at the head has a timer, set for the time when there will be enough. Whoever changes the
//     head, or the rate, sets the new head's.
//   - A timer that expires asks for the line to be served, once no lock is held; one call is under way at a time
//     (in_flight_). The call is the core's, which is counted, because the waiter may be gone by then. in_flight_ is
//     lowered before the line is served, so a timer that finds it raised is seen by that serving.
//
// Reservations have a time that stays, since their owners sleep until then. So one that was made behind waiters who
// then gave up is booked as if nothing had flowed in before its time that others could have: what those waiters gave
// back is lost rather than given out twice. For the same reason a cancelled reservation gives back its tokens less
// those that flow in between its own time and that of the last who was served after it.
// (The road not taken is to let every waiter reserve, as Go's x/time/rate does: cancelling then gives back less, or
// nothing, as soon as somebody waits behind.)
#include <leat/flow/rate_limiter.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>

namespace leat {
namespace detail {

void token_bucket::give_back(std::int64_t tokens, std::int64_t less_span) noexcept
{
    const wide_int back = wide_int{tokens} * flow_.period - wide_int{less_span} * flow_.tokens;
    if (unlimited() || back <= 0)
        return;
    level_ += back;
    change_size(size_);
}

std::int64_t token_bucket::when(wide_int tokens) const noexcept
{
    const wide_int missing = tokens * flow_.period - level_;
    if (unlimited() || missing <= 0)
        return last_;
    if (flow_.tokens == 0)
        return never;
    const wide_int wait = (missing + flow_.tokens - 1) / flow_.tokens;
    return wait >= wide_int{never} - last_ ? never : last_ + static_cast<std::int64_t>(wait);
}

void token_bucket::change_flow(token_flow to) noexcept
{
    if (unlimited()) {
        level_ = wide_int{size_} * to.period;
    } else {
        const wide_int period = flow_.period;
        wide_int whole = level_ / period;
        wide_int part = level_ % period;
        if (part < 0) {
            part += period;
            --whole;
        }
        level_ = whole * to.period + part * to.period / period;
    }
    flow_ = to;
}

class limiter_core final : private expired_call {
public:
    limiter_core(token_flow flow, std::int64_t burst) noexcept : bucket_{flow, burst}
    {
    }
    limiter_core(const limiter_core&) = delete;
    limiter_core& operator=(const limiter_core&) = delete;

    void ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void unref() noexcept
    {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }
    bool shared() const noexcept
    {
        return refs_.load(std::memory_order_acquire) != 1;
    }

    bool allow(std::int64_t n, std::int64_t now) noexcept
    {
        std::lock_guard hold{lock};
        if (first_ != nullptr)
            return n == 0;
        return take(n, now);
    }

    /// Does something with the bucket, and what follows for those who wait.
    template <class F>
    auto change(std::int64_t now, F act) noexcept
    {
        const auto answer = [&] {
            std::lock_guard hold{lock};
            bucket_.refill(now);
            return act(bucket_);
        }();
        turn* const by = current_turn();
        wake_list wakes;
        serve(now, by, wakes);
        wakes.flush(by);
        return answer;
    }

    /// Books n tokens for `to`, in the line if there is one. False: another booking is needed for that.
    bool reserve(std::int64_t n, std::int64_t now, std::int64_t& at, bool& ok,
                 limiter_booking*& spare) noexcept
    {
        std::lock_guard hold{lock};
        bucket_.refill(now);
        if (bucket_.unlimited()) {
            at = now;
            ok = true;
            return true;
        }
        if (n > bucket_.size())
            return true;
        at = bucket_.when(queued_tokens_ + n);
        if (last_booking_ != nullptr && at != token_bucket::never)
            at = std::max(at, after(last_booking_->at, behind_booking_ + n));
        ok = at != token_bucket::never;
        if (!ok)
            return true;
        if (first_ == nullptr) {
            bucket_.take(n);
            given_out(at, now);
            return true;
        }
        if (spare == nullptr)
            return false;
        limiter_booking& made = *std::exchange(spare, nullptr);
        made.tokens = n;
        made.at = at;
        push(made);
        return true;
    }

    /// Gives back what was reserved for a time.
    bool cancel(limiter_booking* booking, std::int64_t tokens, std::int64_t at, std::int64_t now) noexcept
    {
        return change(now, [&](token_bucket& bucket) {
            if (booking != nullptr && booking->queued) {
                remove(*booking);
                return true;
            }
            if (bucket.unlimited() || at < now || tokens == 0)
                return false;
            const std::int64_t span = last_event_ > at ? last_event_ - at : 0;
            const token_flow flow = bucket.flow();
            if (wide_int{tokens} * flow.period <= wide_int{span} * flow.tokens)
                return false;
            bucket.give_back(tokens, span);
            if (span != 0) {
                overlaps_ = true;
            } else if (!overlaps_ && flow.tokens != 0) {
                const wide_int earlier = at - wide_int{tokens} * flow.period / flow.tokens;
                if (earlier >= now)
                    last_event_ = static_cast<std::int64_t>(earlier);
            }
            return true;
        });
    }
    /// True: the booking is the caller's to free.
    bool drop(limiter_booking& booking) noexcept
    {
        std::lock_guard hold{lock};
        booking.dropped = true;
        return !booking.queued;
    }

    // -- by waiters, under the lock of their shard -------------------------------------------------

    /// True: served, or refused.
    bool ask(limiter_wait& op) noexcept
    {
        std::lock_guard hold{lock};
        return too_much(op) || ((first_ == nullptr || op.tokens == 0) && take(op.tokens, op.now_));
    }
    void join_line(limiter_wait& op) noexcept
    {
        std::lock_guard hold{lock};
        push(op);
        // Nobody has to be told: the shard is that of the worker that runs this.
        if (first_ == &op)
            static_cast<void>(arm(op));
    }
    void leave_line(limiter_wait& op) noexcept
    {
        std::lock_guard hold{lock};
        op.left_head_ = op.queued && first_ == &op;
        if (op.queued)
            remove(op);
        disarm(op);
    }
    void expired(limiter_wait& op, expiry& out) noexcept
    {
        {
            std::lock_guard hold{lock};
            op.due_ = token_bucket::never;
        }
        if (in_flight_.exchange(true, std::memory_order_seq_cst))
            return;
        ref();
        out.call(*this);
    }

    const token_bucket& bucket() const noexcept
    {
        return bucket_;
    }

    mutable spinlock lock;

private:
    ~limiter_core()
    {
        // What is left in the line is reservations that nobody holds any more.
        while (first_ != nullptr) {
            limiter_entry& left = *first_;
            remove(left);
            delete static_cast<limiter_booking*>(&left);
        }
        free(trash_);
    }

    static void free(limiter_booking* trash) noexcept
    {
        while (trash != nullptr)
            delete std::exchange(trash, trash->next_trash);
    }

    bool take(std::int64_t n, std::int64_t now) noexcept
    {
        bucket_.refill(now);
        if (!bucket_.has(n))
            return false;
        if (n > 0) {
            bucket_.take(n);
            given_out(now, now);
        }
        return true;
    }
    /// Tokens have been given out for a time.
    void given_out(std::int64_t at, std::int64_t now) noexcept
    {
        if (last_event_ <= now)
            overlaps_ = false;
        last_event_ = std::max(last_event_, at);
    }

    /// The time at which tokens will have flowed in since `from`.
    std::int64_t after(std::int64_t from, wide_int n) const noexcept
    {
        const token_flow flow = bucket_.flow();
        const wide_int span =
            flow.tokens == 0 ? token_bucket::never : (n * flow.period + flow.tokens - 1) / flow.tokens;
        return span >= wide_int{token_bucket::never} - from ? token_bucket::never
                                                            : from + static_cast<std::int64_t>(span);
    }

    bool too_much(limiter_wait& op) noexcept
    {
        if (bucket_.unlimited() || op.tokens <= bucket_.size())
            return false;
        op.too_small_ = bucket_.size();
        return true;
    }

    /// Serves from the head of the line as far as the tokens go. Takes the locks.
    void serve(std::int64_t now, turn* by, wake_list& wakes) noexcept
    {
        while (timer_shard* const home = who_is_next(now)) {
            {
                std::lock_guard hold_shard{home->lock};
                std::int64_t told = token_bucket::never;
                {
                    std::lock_guard hold{lock};
                    while (first_ != nullptr && head().home_ == home)
                        if (!serve_head(now, wakes)) {
                            if (arm(head()))
                                told = head().due_;
                            break;
                        }
                }
                // Under the shard's lock, for as long as it is open its scheduler is there.
                if (told != token_bucket::never)
                    home->tell(told, by);
            }
            home->leave();
        }
        limiter_booking* trash = nullptr;
        {
            std::lock_guard hold{lock};
            trash = std::exchange(trash_, nullptr);
        }
        free(trash);
    }
    /// The shard of the waiter at the head, held, if there is something to be done for it.
    timer_shard* who_is_next(std::int64_t now) noexcept
    {
        std::lock_guard hold{lock};
        bucket_.refill(now);
        book_reservations();
        if (first_ == nullptr)
            return nullptr;
        limiter_wait& op = head();
        const bool can = bucket_.has(op.tokens) || op.tokens > bucket_.size();
        if (!can && op.due_ == bucket_.when(op.tokens))
            return nullptr;
        op.home_->hold();
        return op.home_;
    }
    /// Under both locks: false if there are not enough tokens.
    bool serve_head(std::int64_t now, wake_list& wakes) noexcept
    {
        limiter_wait& op = head();
        const bool refused = too_much(op);
        if (!refused && !bucket_.has(op.tokens))
            return false;
        remove(op);
        disarm(op);
        // One whose task somebody else has won takes nothing.
        if (op.win(wakes) && !refused) {
            bucket_.take(op.tokens);
            given_out(now, now);
        }
        book_reservations();
        return true;
    }
    /// Those at the head of the line.
    void book_reservations() noexcept
    {
        while (first_ != nullptr && !first_->waits) {
            auto& booking = static_cast<limiter_booking&>(*first_);
            remove(booking);
            bucket_.take(booking.tokens);
            bucket_.bar_until(booking.at);
            given_out(booking.at, std::numeric_limits<std::int64_t>::min());
            if (booking.dropped)
                booking.next_trash = std::exchange(trash_, &booking);
        }
    }
    limiter_wait& head() const noexcept
    {
        return static_cast<limiter_wait&>(*first_);
    }

    /// Sets the timer of the waiter at the head. True if its shard has to be told.
    bool arm(limiter_wait& op) noexcept
    {
        const std::int64_t due = bucket_.when(op.tokens);
        if (due == op.due_)
            return false;
        disarm(op);
        op.due_ = due;
        return due != token_bucket::never && op.home_->arm_locked(op, due);
    }
    static void disarm(limiter_wait& op) noexcept
    {
        if (std::exchange(op.due_, token_bucket::never) != token_bucket::never)
            op.home_->disarm_locked(op);
    }

    void fire(turn* by, wake_list& wakes) noexcept override
    {
        in_flight_.store(false, std::memory_order_seq_cst);
        std::int64_t now = std::numeric_limits<std::int64_t>::min();
        {
            std::lock_guard hold{lock};
            if (first_ != nullptr && first_->waits)
                now = head().root->sched().now();
        }
        serve(now, by, wakes);
        unref();
    }

    void push(limiter_entry& entry) noexcept
    {
        entry.before = last_;
        entry.behind = nullptr;
        (last_ != nullptr ? last_->behind : first_) = &entry;
        last_ = &entry;
        entry.queued = true;
        entry.number = ++numbered_;
        queued_tokens_ += entry.tokens;
        if (!entry.waits) {
            last_booking_ = static_cast<limiter_booking*>(&entry);
            behind_booking_ = 0;
        } else if (last_booking_ != nullptr) {
            behind_booking_ += entry.tokens;
        }
    }
    void remove(limiter_entry& entry) noexcept
    {
        (entry.before != nullptr ? entry.before->behind : first_) = entry.behind;
        (entry.behind != nullptr ? entry.behind->before : last_) = entry.before;
        entry.queued = false;
        queued_tokens_ -= entry.tokens;
        if (last_booking_ == nullptr)
            return;
        if (&entry != last_booking_) {
            if (entry.number > last_booking_->number)
                behind_booking_ -= entry.tokens;
            return;
        }
        limiter_entry* at = entry.before;
        for (; at != nullptr && at->waits; at = at->before)
            behind_booking_ += at->tokens;
        last_booking_ = static_cast<limiter_booking*>(at);
    }

    limiter_entry* first_ = nullptr;
    limiter_entry* last_ = nullptr;
    limiter_booking* last_booking_ = nullptr;  ///< in the line
    wide_int behind_booking_ = 0;              ///< tokens asked for behind that
    std::uint64_t numbered_ = 0;
    limiter_booking* trash_ = nullptr;
    wide_int queued_tokens_ = 0;
    token_bucket bucket_;
    std::int64_t last_event_ =
        std::numeric_limits<std::int64_t>::min();  ///< the latest time anybody was given
    bool overlaps_ = false;  ///< what one gave back before last_event_ may be had again, in any order with it
    atomic<std::uint32_t> refs_{1};
    atomic<bool> in_flight_{false};
};

// -- Waiting -------------------------------------------------------------------------------------------

limiter_wait::limiter_wait(limiter_core& of, std::int64_t n) noexcept : core_{&of}
{
    tokens = n;
    waits = true;
    core_->ref();
}

limiter_wait::~limiter_wait()
{
    core_->unref();
}

limiter_request::limiter_request(limiter_core& of, std::int64_t n) noexcept : core_{&of}, tokens_{n}
{
    core_->ref();
}

limiter_request::~limiter_request()
{
    core_->unref();
}

bool limiter_request::try_now(task_root& root, kept_type&) noexcept
{
    turn& here = *root.now;
    if (!may_take(root, here) || !core_->allow(tokens_, here.sched->now()))
        return false;
    --here.budget;
    return true;
}

void limiter_wait::prepare(turn& here) noexcept
{
    now_ = here.sched->now();
    home_ = &here.sched->timers(&here);
    too_small_ = -1;
}

spinlock& limiter_wait::source() noexcept
{
    return home_->lock;
}

bool limiter_wait::try_complete(wake_list&) noexcept
{
    return core_->ask(*this);
}

void limiter_wait::link() noexcept
{
    core_->join_line(*this);
}

void limiter_wait::unlink() noexcept
{
    core_->leave_line(*this);
}

void limiter_wait::unlinked() noexcept
{
    if (std::exchange(left_head_, false))
        static_cast<void>(core_->change(root->sched().now(), [](token_bucket&) { return true; }));
}

void limiter_wait::expired(expiry& out) noexcept
{
    core_->expired(*this, out);
}

void limiter_wait::value() const
{
    if (too_small_ >= 0)
        throw usage_error{"leat: wait(" + std::to_string(tokens) + ") on a rate_limiter whose burst is " +
                          std::to_string(too_small_) + " would wait for ever: it never holds so many tokens"};
}

result<> limiter_wait::take_result() const
{
    try {
        value();
        return {};
    } catch (...) {
        return std::current_exception();
    }
}

// -- Handles -------------------------------------------------------------------------------------------

namespace {

std::int64_t clock_now() noexcept
{
    return clock::now().time_since_epoch().count();
}

std::int64_t checked_burst(std::int64_t burst)
{
    if (burst < 0 || burst > token_bucket::largest)
        throw usage_error{
            "leat: the burst of a rate_limiter is a number of tokens, not negative and at most 2^62"};
    return burst;
}

void check_tokens(std::int64_t n)
{
    if (n < 0)
        throw usage_error{"leat: a negative number of tokens was asked of a rate_limiter"};
}

}  // namespace

limiter_handle::limiter_handle(leat::rate events, std::int64_t burst)
    : core_{new limiter_core{events.flow(), checked_burst(burst)}}
{
}

limiter_handle::limiter_handle(const limiter_handle& other) noexcept : core_{other.core_}
{
    core_->ref();
}

limiter_handle::~limiter_handle()
{
    core_->unref();
}

bool limiter_handle::idle(std::int64_t now) const noexcept
{
    return !core_->shared() && core_->change(now, [](const token_bucket& bucket) { return bucket.full(); });
}

}  // namespace detail

// -- Rates ---------------------------------------------------------------------------------------------

namespace {

constexpr std::int64_t second = 1'000'000'000;

detail::token_flow in_lowest_terms(std::int64_t tokens, std::int64_t period) noexcept
{
    const std::int64_t common = std::gcd(tokens, period);
    const detail::token_flow flow{tokens / common, period / common};
    return flow.tokens > detail::token_bucket::largest ? detail::token_flow{0, 0} : flow;
}

[[noreturn]] void throw_bad_rate()
{
    throw usage_error{
        "leat: a rate is a number of events in a span of time, the number not negative and the span "
        "longer than zero; without a limit, it is rate::infinite()"};
}

/// The simplest fraction that is as near as a double can tell, by continued fractions.
detail::token_flow simplest(double per_second) noexcept
{
    constexpr double most = 4e18;
    constexpr std::int64_t largest_divisor = detail::token_bucket::largest / second;
    if (per_second >= most)
        return {0, 0};
    std::int64_t above[2] = {1, 0};
    std::int64_t below[2] = {0, 1};
    double rest = per_second;
    for (;;) {
        const double whole = std::floor(rest);
        const double next_above = whole * static_cast<double>(above[0]) + static_cast<double>(above[1]);
        const double next_below = whole * static_cast<double>(below[0]) + static_cast<double>(below[1]);
        if (next_above > most || next_below > static_cast<double>(largest_divisor))
            break;
        const auto factor = static_cast<std::int64_t>(whole);
        above[1] = std::exchange(above[0], factor * above[0] + above[1]);
        below[1] = std::exchange(below[0], factor * below[0] + below[1]);
        const double error = static_cast<double>(above[0]) / static_cast<double>(below[0]) - per_second;
        if (rest == whole || std::abs(error) <= per_second * std::numeric_limits<double>::epsilon())
            break;
        rest = 1 / (rest - whole);
    }
    if (below[0] == 0 || (above[0] == 0 && per_second > 0))
        return {1, detail::token_bucket::largest};  // the slowest that there is
    return in_lowest_terms(above[0], below[0] * second);
}

}  // namespace

rate::rate(double per_second)
{
    if (!(per_second >= 0))
        throw_bad_rate();
    flow_ = simplest(per_second);
}

rate::rate(std::int64_t events, clock::duration span)
{
    if (events < 0 || span.count() <= 0)
        throw_bad_rate();
    flow_ = in_lowest_terms(events, std::min(span.count(), detail::token_bucket::largest));
}

double rate::per_second() const noexcept
{
    return is_infinite() ? std::numeric_limits<double>::infinity()
                         : static_cast<double>(flow_.tokens) / static_cast<double>(flow_.period) *
                               static_cast<double>(second);
}

// -- The limiter ---------------------------------------------------------------------------------------

bool rate_limiter::allow(std::int64_t n)
{
    detail::check_tokens(n);
    return core_->allow(n, detail::clock_now());
}

reservation rate_limiter::reserve(std::int64_t n)
{
    detail::check_tokens(n);
    reservation made{*this};
    made.tokens_ = n;
    detail::limiter_booking* spare = nullptr;
    const std::int64_t now = detail::clock_now();
    while (!core_->reserve(n, now, made.at_, made.ok_, spare)) {
        spare = new detail::limiter_booking;
        made.booking_ = spare;
    }
    if (spare != nullptr) {
        made.booking_ = nullptr;
        delete spare;
    }
    return made;
}

rate_limiter::wait_operation rate_limiter::wait(std::int64_t n)
{
    detail::check_tokens(n);
    return wait_operation{std::in_place, *core_, n};
}

leat::rate rate_limiter::rate() const noexcept
{
    const detail::spin_guard hold{core_->lock};
    return leat::rate{core_->bucket().flow()};
}

std::int64_t rate_limiter::burst() const noexcept
{
    const detail::spin_guard hold{core_->lock};
    return core_->bucket().size();
}

double rate_limiter::tokens() const noexcept
{
    return core_->change(detail::clock_now(),
                         [](const detail::token_bucket& bucket) { return bucket.tokens(); });
}

void rate_limiter::set_rate(leat::rate events) noexcept
{
    static_cast<void>(core_->change(detail::clock_now(), [&](detail::token_bucket& bucket) {
        bucket.change_flow(events.flow());
        return true;
    }));
}

void rate_limiter::set_burst(std::int64_t burst)
{
    detail::checked_burst(burst);
    static_cast<void>(core_->change(detail::clock_now(), [&](detail::token_bucket& bucket) {
        bucket.change_size(burst);
        return true;
    }));
}

// -- Reservations --------------------------------------------------------------------------------------

reservation& reservation::operator=(reservation&& other) noexcept
{
    if (this != &other) {
        drop();
        limiter_ = other.limiter_;
        booking_ = std::exchange(other.booking_, nullptr);
        tokens_ = other.tokens_;
        at_ = other.at_;
        ok_ = std::exchange(other.ok_, false);
    }
    return *this;
}

void reservation::drop() noexcept
{
    detail::limiter_booking* const booking = std::exchange(booking_, nullptr);
    if (booking != nullptr && limiter_.core_->drop(*booking))
        delete booking;
}

clock::duration reservation::delay() const noexcept
{
    if (!ok_)
        return clock::duration::max();
    const std::int64_t now = detail::clock_now();
    return clock::duration{at_ > now ? at_ - now : 0};
}

bool reservation::cancel() noexcept
{
    if (!std::exchange(ok_, false))
        return false;
    return limiter_.core_->cancel(booking_, tokens_, at_, detail::clock_now());
}

}  // namespace leat
