// Whether what concurrent callers saw can be explained by one order of their calls, one after the other, in which
// every call lies between its beginning and its end: linearizability, decided by search (Wing and Gong) that goes
// nowhere twice (Lowe).
//
// A model is what the object would be if nobody else used it:
//     using call = ...;                   what was asked and what was answered
//     bool apply(const call&);            whether that answer is possible now; if so, it is what happens
//     auto key() const;                   of an ordered type; equal for states that answer alike from here on
//     static std::string words(const call&);
// A call that had no effect, a cancelled wait say, need not be recorded; recorded, its apply() changes nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace test {

template <class Call>
struct timed_call {
    Call what;
    std::uint64_t begin;
    std::uint64_t end;
    std::size_t caller;
};

/// What a few callers do, each of whom writes down its own calls.
template <class Call>
class call_log {
public:
    explicit call_log(std::size_t callers) : lanes_(callers)
    {
    }
    /// The instant at which a call begins.
    std::uint64_t begin() noexcept
    {
        return tick();
    }
    /// A call has returned.
    void end(std::size_t caller, std::uint64_t began, Call what)
    {
        const std::uint64_t now = tick();
        lanes_[caller].push_back({std::move(what), began, now, caller});
    }
    std::vector<timed_call<Call>> calls() const
    {
        std::vector<timed_call<Call>> all;
        for (const auto& lane : lanes_)
            all.insert(all.end(), lane.begin(), lane.end());
        return all;
    }

private:
    // Orders nothing but itself, so that ThreadSanitizer sees what the object alone orders. The signal fences keep
    // the compiler from moving the tick into or over the call.
    std::uint64_t tick() noexcept
    {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        const std::uint64_t now = ticks_.fetch_add(1, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        return now;
    }

    std::vector<std::vector<timed_call<Call>>> lanes_;
    std::atomic<std::uint64_t> ticks_{0};
};

/// At most 64 calls.
template <class Model>
class linearization {
public:
    using call = typename Model::call;

    linearization(std::vector<timed_call<call>> calls, Model start)
        : calls_{std::move(calls)}, found_{[&] {
              if (calls_.size() > 64)
                  throw std::logic_error{"a history of more than 64 calls"};
              return search(0, start);
          }()}
    {
    }

    bool exists() const noexcept
    {
        return found_;
    }
    /// The history, for a report; empty if there is an order that explains it.
    std::string complaint() const
    {
        if (found_)
            return {};
        std::string text = "no order of these calls explains their answers:\n";
        for (const auto& each : calls_)
            text += "  caller " + std::to_string(each.caller) + ", " + std::to_string(each.begin) + " to " +
                    std::to_string(each.end) + ": " + Model::words(each.what) + '\n';
        return text;
    }

private:
    using key = decltype(std::declval<const Model&>().key());

    bool search(std::uint64_t done, const Model& state)
    {
        // Whoever began before the first of those who are left had returned may be the next.
        std::uint64_t first_end = std::numeric_limits<std::uint64_t>::max();
        for (std::size_t i = 0; i < calls_.size(); ++i)
            if ((done >> i & 1U) == 0 && calls_[i].end < first_end)
                first_end = calls_[i].end;
        if (first_end == std::numeric_limits<std::uint64_t>::max())
            return true;
        if (!been_.emplace(done, state.key()).second)
            return false;
        for (std::size_t i = 0; i < calls_.size(); ++i) {
            if ((done >> i & 1U) != 0 || calls_[i].begin > first_end)
                continue;
            Model after = state;
            if (after.apply(calls_[i].what) && search(done | std::uint64_t{1} << i, after))
                return true;
        }
        return false;
    }

    std::vector<timed_call<call>> calls_;
    std::set<std::pair<std::uint64_t, key>> been_;
    bool found_;
};

/// Empty if some order of the calls explains what was answered; else the history, for a report.
template <class Model>
std::string not_linearizable(std::vector<timed_call<typename Model::call>> calls, Model start = {})
{
    return linearization<Model>{std::move(calls), std::move(start)}.complaint();
}

}  // namespace test
