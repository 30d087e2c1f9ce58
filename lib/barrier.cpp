#include <leat/sync/barrier.hpp>

#include <leat/error.hpp>

#include <utility>

namespace leat {

void barrier::refuse_arrival()
{
    throw usage_error{"leat: more arrivals at a barrier than it has participants"};
}

bool barrier::are_last(std::ptrdiff_t n) noexcept
{
    if (arrived_ + n != expected_)
        return false;
    room_.drop_lost([this](detail::room_waiter& lost) {
        if (lost.round == open_phase() && std::exchange(static_cast<wait_operation&>(lost).arrived_, false))
            --arrived_;
    });
    return arrived_ + n == expected_;
}

bool barrier::close_phase() noexcept
{
    arrived_ = 0;
    expected_ = next_expected_;
    return ++closed_ == 1;
}

bool barrier::arrive_locked(std::ptrdiff_t n) noexcept
{
    if (n != 0 && are_last(n))
        return close_phase();
    arrived_ += n;
    return false;
}

void barrier::complete(bool stays) noexcept
{
    bool comes_back = stays;
    do {
        if (completed_)
            completed_();
        room_.lock.lock();
        if (comes_back)
            room_.come_back();
        comes_back = --closed_ != 0;
        if (comes_back)
            room_.stay();
        room_.let_all_go();
    } while (comes_back);
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
    // A waiter that was cancelled may return, and the barrier go, before the phase is complete.
    if (last)
        room_.stay();
    room_.lock.unlock();
    if (last)
        complete(true);
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
    if (last)
        room_.stay();
    room_.lock.unlock();
    if (last)
        complete(true);
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
    // While another phase is being completed, whoever does that has to complete this one as well.
    if (of_->closed_ != 0 || !of_->are_last(1))
        return false;
    phase_ = of_->open_phase();
    is_last_ = of_->close_phase();
    return true;
}

// A task can not be two participants: if one select has two such cases, the second does not count as the last arrival.
void barrier::wait_operation::link() noexcept
{
    if (arrives_) {
        phase_ = of_->open_phase();
        const bool last = of_->are_last(1);
        arrived_ = !last || of_->closed_ != 0;
        if (!last)
            ++of_->arrived_;
        else if (of_->closed_ != 0)
            static_cast<void>(of_->close_phase());
    }
    of_->room_.admit(*this, phase_);
}

void barrier::wait_operation::unlink() noexcept
{
    of_->room_.dismiss(*this);
    const bool counted = std::exchange(arrived_, false);
    if (of_->open_phase() > phase_)
        passed_ = counted && of_->room_.round() > phase_;
    else if (counted)
        --of_->arrived_;
}

}  // namespace leat
