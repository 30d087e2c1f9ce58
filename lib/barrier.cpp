#include <leat/sync/barrier.hpp>

#include <leat/error.hpp>

#include <utility>

namespace leat {

barrier::barrier(std::ptrdiff_t participants) : expected_{participants}, next_expected_{participants}
{
    if (participants < 0)
        throw usage_error{"leat: a barrier has a number of participants that is not negative"};
}

void barrier::refuse_arrival()
{
    throw usage_error{"leat: more arrivals at a barrier than it has participants"};
}

bool barrier::arrive_locked(std::ptrdiff_t n) noexcept
{
    arrived_ += n;
    if (arrived_ != expected_ || n == 0)
        return false;
    arrived_ = 0;
    expected_ = next_expected_;
    if (completing_) {
        once_more_ = true;
        return false;
    }
    completing_ = true;
    return true;
}

// Called by whoever was the last to arrive, without the lock.
void barrier::complete() noexcept
{
    bool more_before = false;
    bool more = true;
    while (more) {
        if (completed_)
            completed_();
        room_.lock.lock();
        if (more_before)
            room_.come_back();
        more = std::exchange(once_more_, false);
        completing_ = more;
        if (more)
            room_.stay();
        more_before = more;
        room_.let_all_go();
    }
}

barrier::arrival_token barrier::arrive(std::ptrdiff_t n)
{
    room_.lock.lock();
    if (too_many(n)) {
        room_.lock.unlock();
        refuse_arrival();
    }
    arrival_token token{open_phase()};
    const bool last = arrive_locked(n);
    room_.lock.unlock();
    if (last)
        complete();
    return token;
}

void barrier::arrive_and_drop()
{
    room_.lock.lock();
    if (too_many(1)) {
        room_.lock.unlock();
        refuse_arrival();
    }
    --next_expected_;
    const bool last = arrive_locked(1);
    room_.lock.unlock();
    if (last)
        complete();
}

std::uint64_t barrier::phase() const noexcept
{
    const detail::spin_guard hold{room_.lock};
    return room_.round();
}

bool barrier::wait_operation::try_complete(detail::wake_list&) noexcept
{
    if (!arrives_)
        return of_->room_.round() > phase_;
    if (of_->too_many(1)) {
        refused_ = true;
        return true;
    }
    if (of_->arrived_ + 1 != of_->expected_)
        return false;
    phase_ = of_->open_phase();
    is_last_ = of_->arrive_locked(1);
    return is_last_;
}

// A task can not be two participants: if one select has two such cases, the second does not count as the last arrival.
void barrier::wait_operation::link() noexcept
{
    if (arrives_) {
        phase_ = of_->open_phase();
        arrived_ = of_->arrived_ + 1 != of_->expected_;
        of_->arrived_ += arrived_ ? 1 : 0;
    }
    of_->room_.admit(*this, phase_);
}

void barrier::wait_operation::unlink() noexcept
{
    of_->room_.dismiss(*this);
    if (of_->open_phase() > phase_)
        passed_ = true;
    else if (std::exchange(arrived_, false))
        --of_->arrived_;
}

}  // namespace leat
