// The rows of ../../ in plain C++: a task is a thread, a channel a queue under a mutex with two condition variables.
// As many processors are used as there are workers.
#include "../peer.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <unordered_map>

namespace {

using peer::repetition;

/// Runs work(0), work(1), ..., each in a thread, and waits for all.
template <class Work>
void in_threads(const repetition& rep, int count, Work work)
{
    peer::use_processors(rep.workers());
    std::vector<std::jthread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&work, i] { work(i); });
}

// ---- Queues --------------------------------------------------------------------------------------

/// A ring of at most `capacity` numbers.
class queue {
public:
    explicit queue(std::size_t capacity) : ring_(capacity)
    {
    }

    void push(std::int64_t item)
    {
        {
            std::unique_lock lock{mutex_};
            room_.wait(lock, [&] { return size_ < ring_.size(); });
            ring_[(first_ + size_++) % ring_.size()] = item;
        }
        items_.notify_one();
    }
    /// Nothing once the queue is closed and empty.
    std::optional<std::int64_t> pop()
    {
        std::optional<std::int64_t> item;
        {
            std::unique_lock lock{mutex_};
            items_.wait(lock, [&] { return size_ > 0 || closed_; });
            if (size_ == 0)
                return item;
            item = ring_[first_];
            first_ = (first_ + 1) % ring_.size();
            --size_;
        }
        room_.notify_one();
        return item;
    }
    void close()
    {
        {
            const std::lock_guard lock{mutex_};
            closed_ = true;
        }
        items_.notify_all();
    }

private:
    std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable items_;
    std::vector<std::int64_t> ring_;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    bool closed_ = false;
};

void pass(repetition& rep, std::int64_t full, std::size_t capacity, int producers, int consumers)
{
    const std::int64_t share = rep.amount(full / producers);
    const std::int64_t items = share * producers;
    queue through{capacity};
    std::atomic<std::int64_t> sum = 0;
    std::atomic<int> producing = producers;
    rep.start();
    in_threads(rep, producers + consumers, [&](int thread) {
        if (thread < consumers) {
            std::int64_t here = 0;
            while (const auto item = through.pop())
                here += *item;
            sum += here;
            return;
        }
        const std::int64_t first = (thread - consumers) * share;
        for (std::int64_t item = first; item < first + share; ++item)
            through.push(item);
        if (--producing == 0)
            through.close();
    });
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2);
}

// ---- Locks ---------------------------------------------------------------------------------------

void mutex_uncontended(repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    std::int64_t count = 0;
    std::mutex mutex;
    rep.start();
    // In a thread of its own: a library may do without locking while there is but one.
    in_threads(rep, 1, [&](int) {
        for (std::int64_t i = 0; i < times; ++i) {
            const std::lock_guard lock{mutex};
            ++count;
        }
    });
    rep.stop(times);
    rep.expect(count, times);
}

void mutex_contended(repetition& rep)
{
    const std::int64_t times = rep.amount(500'000);
    std::int64_t count = 0;
    std::mutex mutex;
    rep.start();
    in_threads(rep, 8, [&](int) {
        for (std::int64_t i = 0; i < times; ++i) {
            const std::lock_guard lock{mutex};
            ++count;
        }
    });
    rep.stop(8 * times);
    rep.expect(count, 8 * times);
}

// Of `every` operations, one writes; none does if that is zero.
void rw_lock(repetition& rep, std::int64_t every)
{
    const std::int64_t times = rep.amount(500'000);
    const std::int64_t writes = every ? (times + every - 1) / every : 0;
    std::shared_mutex mutex;
    std::int64_t value = 0;
    std::atomic<std::int64_t> read = 0;
    rep.start();
    in_threads(rep, 8, [&](int) {
        std::int64_t here = 0;
        for (std::int64_t i = 0; i < times; ++i) {
            if (every && i % every == 0) {
                const std::lock_guard lock{mutex};
                ++value;
            } else {
                const std::shared_lock lock{mutex};
                here += value >= 0;
            }
        }
        read += here;
    });
    rep.stop(8 * times);
    rep.expect(value, 8 * writes);
    rep.expect(read, 8 * (times - writes));
}

/// std::counting_semaphore of GCC 12 spins and yields before it sleeps: with 64 threads that takes several times as long.
class permits_of_four {
public:
    void acquire()
    {
        std::unique_lock lock{mutex_};
        released_.wait(lock, [&] { return left_ > 0; });
        --left_;
    }
    void release()
    {
        {
            const std::lock_guard lock{mutex_};
            ++left_;
        }
        released_.notify_one();
    }

private:
    std::mutex mutex_;
    std::condition_variable released_;
    int left_ = 4;
};

void semaphore(repetition& rep)
{
    const std::int64_t times = rep.amount(20'000);
    permits_of_four permits;
    std::atomic<std::int64_t> visits = 0;
    rep.start();
    in_threads(rep, 64, [&](int) {
        for (std::int64_t i = 0; i < times; ++i) {
            permits.acquire();
            std::this_thread::yield();
            permits.release();
        }
        visits += times;
    });
    rep.stop(64 * times);
    rep.expect(visits, 64 * times);
}

void once(repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    std::once_flag flag;
    std::int64_t runs = 0, calls = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        std::call_once(flag, [&] { ++runs; });
        calls += runs;
    }
    rep.stop(times);
    rep.expect(runs, 1);
    rep.expect(calls, times);
}

// ---- Maps ----------------------------------------------------------------------------------------

/// A map for many readers and few writers, as one writes it: one lock for all.
class locked_map {
public:
    std::optional<std::int64_t> load(std::int64_t key) const
    {
        const std::shared_lock lock{mutex_};
        const auto found = entries_.find(key);
        return found == entries_.end() ? std::nullopt : std::optional{found->second};
    }
    void store(std::int64_t key, std::int64_t value)
    {
        const std::lock_guard lock{mutex_};
        entries_[key] = value;
    }
    void erase(std::int64_t key)
    {
        const std::lock_guard lock{mutex_};
        entries_.erase(key);
    }

private:
    mutable std::shared_mutex mutex_;
    std::unordered_map<std::int64_t, std::int64_t> entries_;
};

std::uint64_t next(std::uint64_t random)
{
    return random * 6364136223846793005u + 1442695040888963407u;
}

// Of a hundred operations `loads` load, one deletes, and the rest stores; all load if that is a hundred.
void map_row(repetition& rep, std::uint64_t loads)
{
    constexpr std::int64_t keys = 100'000;
    const std::int64_t times = rep.amount(10'000'000 / 8);
    locked_map entries;
    for (std::int64_t key = 0; key < keys; ++key)
        entries.store(key, key);
    std::atomic<std::int64_t> found = 0, wrong = 0;
    rep.start();
    in_threads(rep, 8, [&](int thread) {
        auto random = static_cast<std::uint64_t>(thread);
        std::int64_t found_here = 0, wrong_here = 0;
        for (std::int64_t i = 0; i < times; ++i) {
            random = next(random);
            const auto key = static_cast<std::int64_t>((random >> 33) % keys);
            const std::uint64_t what = (random >> 13) % 100;
            if (what < loads) {
                const auto value = entries.load(key);
                found_here += value.has_value();
                wrong_here += value && *value != key;
            } else if (what < 99) {
                entries.store(key, key);
            } else {
                entries.erase(key);
            }
        }
        found += found_here;
        wrong += wrong_here;
    });
    rep.stop(8 * times);
    rep.expect(wrong, 0);
    if (loads == 100)
        rep.expect(found, 8 * times);
}

// ---- Rate ----------------------------------------------------------------------------------------

/// A token bucket, as one writes it.
class limiter {
public:
    limiter(double per_second, double burst) : per_second_{per_second}, burst_{burst}
    {
    }
    bool allow()
    {
        const auto now = std::chrono::steady_clock::now();
        const std::lock_guard lock{mutex_};
        const double elapsed = std::chrono::duration<double>{now - last_}.count();
        tokens_ = std::min(burst_, tokens_ + elapsed * per_second_);
        last_ = now;
        if (tokens_ < 1)
            return false;
        --tokens_;
        return true;
    }

private:
    std::mutex mutex_;
    double per_second_;
    double burst_;
    double tokens_ = burst_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// There is always a token.
void ratelimit_allow(repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    limiter tokens{1e9, 1e6};
    std::int64_t allowed = 0;
    rep.start();
    in_threads(rep, 1, [&](int) {
        for (std::int64_t i = 0; i < times; ++i)
            allowed += tokens.allow();
    });
    rep.stop(times);
    rep.expect(allowed, times);
}

}  // namespace

int main(int argc, char** argv)
{
    return peer::program(
        argc, argv, "threads",
        {{"chan_spsc.cap128", "ns/item", [](repetition& rep) { pass(rep, 10'000'000, 128, 1, 1); }},
         {"chan_mpmc", "ns/item", [](repetition& rep) { pass(rep, 4'000'000, 64, 4, 4); }},
         {"mutex_uncontended", "ns", mutex_uncontended},
         {"mutex_contended", "ns/op", mutex_contended},
         {"rw_read", "ns/op", [](repetition& rep) { rw_lock(rep, 0); }},
         {"rw_mixed", "ns/op", [](repetition& rep) { rw_lock(rep, 100); }},
         {"semaphore", "ns/op", semaphore},
         {"once", "ns/op", once},
         {"map_load", "ns/op", [](repetition& rep) { map_row(rep, 100); }},
         {"map_mixed", "ns/op", [](repetition& rep) { map_row(rep, 90); }},
         {"ratelimit_allow", "ns", ratelimit_allow}});
}
