// A model checker for protocols between threads. The threads of a scenario are fibres on one thread; every
// operation on a model atomic (model_atomic.hpp) is a point where another may go on; and the scenario is run
// again and again until every interleaving has been seen, up to a number of preemptions (most errors need one or
// two; CHESS, Musuvathi and Qadeer 2007). Memory is sequentially consistent here: what weaker orders allow is for
// the proofs and ThreadSanitizer.
//
// A scenario is a function that makes its data, adds its threads, calls run() and then checks what came of it. It
// must do the same each time. Failures are kept, with the schedule that led to them.
#pragma once

#include "scale.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <ucontext.h>
#include <utility>
#include <vector>

#if defined(__has_include)
#if __has_include(<sanitizer/common_interface_defs.h>)
#include <sanitizer/common_interface_defs.h>
#endif
#endif

namespace model {

struct options {
    int preemptions = 2;
    std::size_t schedules = 2'000'000;
};

struct outcome {
    std::size_t schedules = 0;
    bool exhausted = false;
    std::string failure;  ///< the first, with its schedule; empty if there was none
};

/// What a fibre waits for; see point().
struct watched {
    unsigned version = 0;  ///< rises with every change
};

class explorer {
public:
    explicit explorer(options with) : options_{with}
    {
        here() = this;
    }
    explorer(const explorer&) = delete;
    explorer& operator=(const explorer&) = delete;
    ~explorer()
    {
        here() = nullptr;
    }

    // -- for scenarios -----------------------------------------------------------------------------

    void thread(std::function<void()> body)
    {
        if (spare_.empty()) {
            threads_.push_back(std::make_unique<fibre>());
        } else {
            threads_.push_back(std::move(spare_.back()));
            spare_.pop_back();
        }
        threads_.back()->start(std::move(body));
    }
    /// Until every thread has ended, or none can go on.
    void run()
    {
        running_ = none;
        preempted_ = 0;
        while (pick(false)) {
            enter(running_);
            if (failed())
                break;
        }
        if (!failed())
            for (const auto& each : threads_)
                if (!each->ended) {
                    fail("a thread waits for ever");
                    break;
                }
        for (auto& each : threads_)
            if (each->ended)
                spare_.push_back(std::move(each));
            else
                each.release();  // its stack is still in use: the failure ends the test
        threads_.clear();
    }
    void fail(const std::string& what)
    {
        if (!failure_.empty())
            return;
        failure_ = what + ", after";
        for (std::size_t i = 0; i < at_; ++i)
            failure_ += ' ' + std::to_string(choices_[i].taken);
    }
    bool failed() const noexcept
    {
        return !failure_.empty();
    }
    /// The calling thread goes on when this is true. What the condition looks at it does unseen.
    void wait_until(std::function<bool()> condition)
    {
        if (running_ == none)
            return;
        threads_[running_]->until = std::move(condition);
        switch_away(true);
    }

    /// Saved and restored with each fibre: what code under test keeps in a thread-local.
    void* (*swap_local)(void* to) = nullptr;

    // -- for model atomics -------------------------------------------------------------------------

    static explorer*& here() noexcept
    {
        static explorer* one = nullptr;
        return one;
    }
    /// A number of the thread that runs; outside of run() as the first.
    static std::size_t thread_number() noexcept
    {
        explorer* const e = here();
        return e != nullptr && e->running_ != none ? e->running_ : 0;
    }
    /// Before an operation.
    static void point() noexcept
    {
        explorer* const e = here();
        if (e != nullptr && e->running_ != none && !e->looking_)
            e->switch_away(false);
    }
    /// After an operation. Who reads the same unchanged thing again and again is spinning, and does not go on
    /// before it has changed.
    static void seen(watched& at, bool changed) noexcept
    {
        explorer* const e = here();
        if (changed)
            ++at.version;
        if (e == nullptr || e->running_ == none || e->looking_)
            return;
        fibre& f = *e->threads_[e->running_];
        if (changed || f.spins_on != &at || f.spin_version != at.version) {
            f.spins_on = changed ? nullptr : &at;
            f.spin_version = at.version;
            f.spins = 0;
        } else if (++f.spins == spins_to_block) {
            const unsigned version = at.version;
            f.spins = 0;
            f.until = [&at, version] { return at.version != version; };
            e->switch_away(true);
        }
    }

    template <class Scenario>
    outcome explore(Scenario scenario)
    {
        outcome all;
        for (;;) {
            at_ = 0;
            ++all.schedules;
            scenario(*this);
            if (failed()) {
                all.failure = failure_;
                return all;
            }
            if (!next()) {
                all.exhausted = true;
                return all;
            }
            if (all.schedules >= options_.schedules)
                return all;
        }
    }

private:
    static constexpr std::size_t none = static_cast<std::size_t>(-1);
    static constexpr int spins_to_block = 6;
    static constexpr std::size_t stack_size = 256 * 1024;

    struct fibre {
        fibre() : stack{new char[stack_size]}
        {
        }
        void start(std::function<void()> what)
        {
            body = std::move(what);
            ended = false;
            until = nullptr;
            spins_on = nullptr;
            spins = 0;
            local = nullptr;
            ::getcontext(&context);
            context.uc_stack.ss_sp = stack.get();
            context.uc_stack.ss_size = stack_size;
            context.uc_link = nullptr;
            ::makecontext(&context, &explorer::entry, 0);
        }
        std::unique_ptr<char[]> stack;
        std::function<void()> body;
        std::function<bool()> until;
        ucontext_t context{};
        void* local = nullptr;
        void* fake_stack = nullptr;
        const watched* spins_on = nullptr;
        unsigned spin_version = 0;
        int spins = 0;
        bool ended = false;
    };

    struct choice {
        std::uint32_t taken;
        std::uint32_t bound;
    };

    std::uint32_t choose(std::uint32_t bound)
    {
        if (bound <= 1)
            return 0;
        if (at_ == choices_.size())
            choices_.push_back({0, bound});
        if (choices_[at_].bound != bound) {
            fail("the scenario is not the same each time");
            return 0;
        }
        return choices_[at_++].taken;
    }
    bool next()
    {
        while (!choices_.empty()) {
            if (++choices_.back().taken < choices_.back().bound)
                return true;
            choices_.pop_back();
        }
        return false;
    }

    bool can_run(std::size_t which)
    {
        fibre& f = *threads_[which];
        if (f.ended)
            return false;
        if (!f.until)
            return true;
        looking_ = true;
        const bool now = f.until();
        looking_ = false;
        return now;
    }
    /// Chooses who goes on; the running thread, if it can, unless it is preempted.
    bool pick(bool blocked)
    {
        std::uint32_t able = 0;
        std::size_t candidates[16];
        const bool goes_on = running_ != none && !blocked && can_run(running_);
        if (goes_on)
            candidates[able++] = running_;
        if (!goes_on || preempted_ < options_.preemptions)
            for (std::size_t i = 0; i < threads_.size(); ++i)
                if (i != running_ && can_run(i))
                    candidates[able++] = i;
        if (!goes_on && able == 0 && running_ != none && can_run(running_))
            candidates[able++] = running_;
        if (able == 0)
            return false;
        const std::uint32_t chosen = choose(able);
        if (goes_on && chosen != 0)
            ++preempted_;
        running_ = candidates[chosen];
        threads_[running_]->until = nullptr;
        return true;
    }

    void switch_away(bool blocked)
    {
        const std::size_t self = running_;
        if (failed() || !pick(blocked)) {
            to_main(self);
            return;
        }
        if (running_ == self)
            return;
        const std::size_t to = running_;
        if (swap_local != nullptr)
            threads_[self]->local = swap_local(threads_[to]->local);
        jump(threads_[self]->context, &threads_[self]->fake_stack, *threads_[to]);
    }
    void enter(std::size_t which)
    {
        if (swap_local != nullptr)
            main_local_ = swap_local(threads_[which]->local);
        jump(main_, &main_fake_stack_, *threads_[which]);
    }
    void to_main(std::size_t self)
    {
        fibre& f = *threads_[self];
        if (swap_local != nullptr)
            f.local = swap_local(main_local_);
        running_ = none;
#if defined(__SANITIZE_ADDRESS__) || defined(LEAT_MODEL_ASAN)
        __sanitizer_start_switch_fiber(f.ended ? nullptr : &f.fake_stack, main_bottom_, main_size_);
#endif
        ::swapcontext(&f.context, &main_);
        arrived(f.fake_stack);
    }
    void jump(ucontext_t& from, void** fake, fibre& to)
    {
        static_cast<void>(fake);
#if defined(__SANITIZE_ADDRESS__) || defined(LEAT_MODEL_ASAN)
        __sanitizer_start_switch_fiber(fake, to.stack.get(), stack_size);
#endif
        ::swapcontext(&from, &to.context);
        arrived(fake != nullptr ? *fake : nullptr);
    }
    void arrived(void* fake)
    {
        static_cast<void>(fake);
#if defined(__SANITIZE_ADDRESS__) || defined(LEAT_MODEL_ASAN)
        const void* bottom = nullptr;
        std::size_t size = 0;
        __sanitizer_finish_switch_fiber(fake, &bottom, &size);
        if (main_bottom_ == nullptr) {
            main_bottom_ = bottom;
            main_size_ = size;
        }
#endif
    }
    static void entry()
    {
        explorer& e = *here();
        e.arrived(nullptr);
        fibre& f = *e.threads_[e.running_];
        f.body();
        f.body = nullptr;
        f.ended = true;
        // The next is picked by run(): the end of a thread is no preemption.
        e.to_main(e.running_);
    }

    options options_;
    std::vector<choice> choices_;
    std::size_t at_ = 0;
    std::vector<std::unique_ptr<fibre>> threads_;
    std::vector<std::unique_ptr<fibre>> spare_;
    std::size_t running_ = none;
    int preempted_ = 0;
    bool looking_ = false;
    std::string failure_;
    ucontext_t main_{};
    void* main_local_ = nullptr;
    void* main_fake_stack_ = nullptr;
    const void* main_bottom_ = nullptr;
    std::size_t main_size_ = 0;
};

/// Notes a failure of the schedule that is being run.
inline void check(bool truth, const char* what)
{
    if (!truth && explorer::here() != nullptr)
        explorer::here()->fail(what);
}

}  // namespace model
