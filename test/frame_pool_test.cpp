// Memory for coroutine frames: what lib/frame_pool.cpp promises. That no thread-local is touched behind a
// suspension is tested in traps_test.cpp.
#include <leat/detail/frame_pool.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace leat::detail;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif
#else
constexpr bool sanitized = false;
#endif

bool under_valgrind()
{
    const char* const preload = std::getenv("LD_PRELOAD");
    return preload != nullptr && std::strstr(preload, "vgpreload") != nullptr;
}

std::size_t resident_bytes()
{
    std::ifstream statm{"/proc/self/statm"};
    std::size_t mapped = 0;
    std::size_t resident = 0;
    statm >> mapped >> resident;
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

unsigned seed()
{
    const char* const given = std::getenv("LEAT_TEST_SEED");
    return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                            : std::random_device{}();
}

struct piece {
    void* memory = nullptr;
    std::size_t size = 0;
    unsigned char mark = 0;
};

piece take(std::size_t size, unsigned char mark)
{
    const piece p{allocate_frame(size), size, mark};
    std::memset(p.memory, mark, size);
    return p;
}

// Whether nobody else wrote there.
bool intact(const piece& p)
{
    const auto* const bytes = static_cast<const unsigned char*>(p.memory);
    return std::all_of(bytes, bytes + p.size, [&](unsigned char byte) { return byte == p.mark; });
}

void give(const piece& p)
{
    free_frame(p.memory, p.size);
}

}  // namespace

TEST_CASE("frame pool: blocks of any size are aligned, apart from each other, and theirs to write")
{
    const auto before = frame_pool_stats().live_bytes;
    std::vector<piece> pieces;
    for (std::size_t size = 0; size != 2200; ++size) {
        pieces.push_back(take(size, static_cast<unsigned char>(size * 7)));
        CHECK(reinterpret_cast<std::uintptr_t>(pieces.back().memory) % 16 == 0);
    }
    for (const std::size_t size : {std::size_t{4096}, std::size_t{65536}, std::size_t{1} << 20})
        pieces.push_back(take(size, static_cast<unsigned char>(size >> 4)));

    std::size_t asked_for = 0;
    for (const piece& p : pieces) {
        CHECK(intact(p));
        asked_for += p.size;
    }
    CHECK(frame_pool_stats().live_bytes - before >= asked_for);

    for (const piece& p : pieces)
        give(p);
    CHECK(frame_pool_stats().live_bytes == before);
}

TEST_CASE("frame pool: the block freed last is the next one of its size")
{
    if (!frames_are_cached())
        return;
    void* const first = allocate_frame(200);
    void* const second = allocate_frame(200);
    free_frame(first, 200);
    free_frame(second, 200);

    CHECK(allocate_frame(200) == second);
    CHECK(allocate_frame(200) == first);

    free_frame(first, 200);
    free_frame(second, 200);
}

TEST_CASE("frame pool: random sizes, many times over, against a count of bytes")
{
    const unsigned chosen = seed();
    INFO("LEAT_TEST_SEED=", chosen);
    std::mt19937 random{chosen};
    const auto before = frame_pool_stats().live_bytes;
    std::vector<piece> pieces;
    bool all_intact = true;
    for (int phase = 0; phase != 6; ++phase) {
        const std::size_t aim = phase % 2 == 0 ? 5000 : 10;
        for (int step = 0; step != 20000; ++step) {
            const bool grow = pieces.empty() || (random() % 100) < (pieces.size() < aim ? 70U : 30U);
            if (grow) {
                pieces.push_back(take(random() % 3000, static_cast<unsigned char>(random())));
            } else {
                std::swap(pieces[random() % pieces.size()], pieces.back());
                all_intact = all_intact && intact(pieces.back());
                give(pieces.back());
                pieces.pop_back();
            }
        }
    }
    CHECK(all_intact);
    for (const piece& p : pieces)
        give(p);
    CHECK(frame_pool_stats().live_bytes == before);
}

TEST_CASE("frame pool: a burst of a million frames goes back to the system")
{
    const std::size_t frames = sanitized || !frames_are_cached() ? 20000 : 1'000'000;
    std::vector<void*> burst(frames);
    std::fill(burst.begin(), burst.end(), &burst);  // resident from here on
    trim_frames();
    const auto stats_before = frame_pool_stats();
    const std::size_t resident_before = resident_bytes();
    std::mt19937 random{1};

    for (int order = 0; order != 3; ++order) {
        for (void*& frame : burst) {
            frame = allocate_frame(300);
            std::memset(frame, 1, 300);
        }
        const auto at_peak = frame_pool_stats();
        CHECK(at_peak.live_bytes - stats_before.live_bytes >= frames * 300);
        CHECK(at_peak.system_bytes >= at_peak.live_bytes);

        if (order == 1)
            std::reverse(burst.begin(), burst.end());
        else if (order == 2)
            std::shuffle(burst.begin(), burst.end(), random);
        for (void* const frame : burst)
            free_frame(frame, 300);

        // Without being asked to, the first time: all but a few in reserve, and the spans that hold what this
        // thread keeps ready.
        if (frames_are_cached()) {
            const auto after = frame_pool_stats();
            CHECK(after.live_bytes == stats_before.live_bytes);
            CHECK(after.system_bytes - stats_before.system_bytes <= (order == 2 ? 130U : 10U) * 65536U);
        }
        flush_frames();
        if (frames_are_cached() && !sanitized) {
            const std::size_t resident = resident_bytes();
            CHECK(resident <= resident_before + resident_before / 10);
            MESSAGE("resident before ", resident_before, ", after ", resident);
        }
    }

    trim_frames();
    const auto stats_after = frame_pool_stats();
    CHECK(stats_after.live_bytes == stats_before.live_bytes);
    CHECK(stats_after.system_bytes == stats_before.system_bytes);
    if (stats_before.live_bytes == 0) {
        CHECK(stats_after.cached_bytes == 0);
        CHECK(stats_after.system_bytes == 0);
    }
}

TEST_CASE("frame pool: a few frames that come and go do not go to the system each time")
{
    if (!frames_are_cached())
        return;
    trim_frames();
    give(take(300, 1));
    const auto before = frame_pool_stats();
    for (int round = 0; round != 1000; ++round) {
        std::array<void*, 1000> frames{};
        for (void*& frame : frames)
            frame = allocate_frame(300);
        for (void* const frame : frames)
            free_frame(frame, 300);
    }
    const auto after = frame_pool_stats();
    CHECK(after.live_bytes == before.live_bytes);
    CHECK(after.system_bytes <= before.system_bytes + 8 * 65536);
}

TEST_CASE("frame pool: the memory of bursts that recur is kept, in bounds, until a thread goes to sleep")
{
    if (!frames_are_cached())
        return;
    trim_frames();
    const std::size_t at_rest = frame_pool_stats().system_bytes;
    const auto system_bytes_after_burst = [](std::size_t frames) {
        std::vector<void*> burst(frames);
        for (void*& frame : burst)
            frame = allocate_frame(300);
        for (void* const frame : burst)
            free_frame(frame, 300);
        return frame_pool_stats().system_bytes;
    };
    constexpr std::size_t size = 50'000 * 304;  // as 300 is rounded up

    CHECK(system_bytes_after_burst(50'000) <= at_rest + 10 * 65536);
    CHECK(system_bytes_after_burst(50'000) >= at_rest + size);
    CHECK(system_bytes_after_burst(50'000) <= at_rest + size + size / 10);
    system_bytes_after_burst(200'000);
    CHECK(system_bytes_after_burst(200'000) <= at_rest + (std::size_t{34} << 20));
    for (int i = 0; i != 3000; ++i)  // much smaller ones from now on
        system_bytes_after_burst(1000);
    CHECK(system_bytes_after_burst(1000) <= at_rest + 32 * 65536);
    system_bytes_after_burst(50'000);
    system_bytes_after_burst(50'000);
    flush_frames();
    CHECK(frame_pool_stats().system_bytes <= at_rest + 10 * 65536);
}

TEST_CASE("frame pool: once every thread has gone to sleep, no memory is kept for any of them")
{
    if (!frames_are_cached())
        return;
    trim_frames();
    const std::size_t at_rest = frame_pool_stats().system_bytes;
    constexpr std::size_t threads = 16;
    constexpr std::size_t size = 256;
    // Each gets a block of each of many spans: what any of them holds ready holds all of these.
    std::vector<std::vector<void*>> shares(threads);
    for (std::size_t i = 0; i != threads * 20'000; ++i)
        shares[i * 257 % threads].push_back(allocate_frame(size));
    for (std::vector<void*>& share : shares)
        std::shuffle(share.begin(), share.end(), std::mt19937{1});
    std::barrier freed{threads};
    std::barrier flushed{threads};
    std::vector<std::thread> sleepers;
    for (std::vector<void*>& share : shares)
        sleepers.emplace_back([&] {
            for (void* const frame : share)
                free_frame(frame, size);
            freed.arrive_and_wait();
            flush_frames();
            flushed.arrive_and_wait();
        });
    for (std::thread& each : sleepers)
        each.join();
    flush_frames();
    CHECK(frame_pool_stats().cached_bytes == 0);
    CHECK(frame_pool_stats().system_bytes <= at_rest + 10 * 65536);
}

TEST_CASE("frame pool: frames freed on another thread come back")
{
    // One thread only allocates, the other only frees; at most a thousand are under way.
    const auto before = frame_pool_stats().live_bytes;
    const int frames = sanitized ? 50000 : 500000;
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<piece> queue;
    std::size_t most_system_bytes = 0;
    bool all_intact = true;

    std::thread consumer{[&] {
        for (int i = 0; i != frames;) {
            std::deque<piece> got;
            {
                std::unique_lock lock{mutex};
                changed.wait(lock, [&] { return !queue.empty(); });
                got.swap(queue);
            }
            changed.notify_one();
            for (const piece& p : got) {
                all_intact = all_intact && intact(p);
                give(p);
                ++i;
            }
        }
    }};
    for (int i = 0; i != frames;) {
        std::deque<piece> made;
        for (int n = 0; n != 100; ++n, ++i)
            made.push_back(take(100 + static_cast<std::size_t>(i) % 300, static_cast<unsigned char>(i)));
        {
            std::unique_lock lock{mutex};
            changed.wait(lock, [&] { return queue.size() < 1000; });
            queue.insert(queue.end(), made.begin(), made.end());
        }
        changed.notify_one();
        if (i % 10000 == 0)
            most_system_bytes = std::max(most_system_bytes, frame_pool_stats().system_bytes);
    }
    consumer.join();

    CHECK(all_intact);
    CHECK(frame_pool_stats().live_bytes == before);
    if (frames_are_cached())
        CHECK(most_system_bytes < (std::size_t{16} << 20));
}

TEST_CASE("frame pool: threads that swap frames at random never share one")
{
    const unsigned chosen = seed();
    INFO("LEAT_TEST_SEED=", chosen);
    const auto before = frame_pool_stats().live_bytes;
    struct locked_piece {
        std::mutex mutex;
        piece held;
    };
    std::vector<locked_piece> shared(64);
    std::atomic<int> broken = 0;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t != 4; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random{chosen + t};
            std::vector<piece> mine;
            for (int step = 0; step != (sanitized ? 30000 : 300000); ++step) {
                if (mine.size() < 200 && random() % 2 == 0)
                    mine.push_back(take(1 + random() % 700, static_cast<unsigned char>(random())));
                if (mine.empty())
                    continue;
                piece& picked = mine[random() % mine.size()];
                if (random() % 4 == 0) {
                    locked_piece& other = shared[random() % shared.size()];
                    std::lock_guard guard{other.mutex};
                    std::swap(picked, other.held);
                }
                if (picked.memory == nullptr || random() % 2 == 0) {
                    if (picked.memory != nullptr) {
                        broken += intact(picked) ? 0 : 1;
                        give(picked);
                    }
                    picked = mine.back();
                    mine.pop_back();
                }
                if (random() % 5000 == 0)
                    flush_frames();
                if (random() % 20000 == 0)
                    trim_frames();
                if (random() % 20000 == 0)
                    (void)frame_pool_stats();
            }
            for (const piece& p : mine)
                give(p);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    for (const locked_piece& place : shared) {
        if (place.held.memory != nullptr)
            give(place.held);
    }
    CHECK(broken == 0);
    CHECK(frame_pool_stats().live_bytes == before);
}

TEST_CASE("frame pool: a thread that ends gives back what it held ready")
{
    const auto before = frame_pool_stats();
    std::thread{[] {
        std::vector<piece> pieces;
        for (std::size_t i = 0; i != 1000; ++i)
            pieces.push_back(take(1 + i * 2, 1));
        for (const piece& p : pieces)
            give(p);
        if (frames_are_cached())
            CHECK(frame_pool_stats().cached_bytes > 0);
    }}.join();
    const auto after = frame_pool_stats();
    CHECK(after.live_bytes == before.live_bytes);
    CHECK(after.cached_bytes <= before.cached_bytes);
}

namespace {

// Made before the thread's cache, so it goes after it.
struct late {
    piece held;
    int* frames_after = nullptr;
    ~late()
    {
        if (held.memory == nullptr)
            return;
        CHECK(intact(held));
        give(held);
        for (std::size_t size = 1; size < 3000; size += 50) {
            const piece p = take(size, 2);
            CHECK(intact(p));
            give(p);
            ++*frames_after;
        }
        fail_next_frames(1);
        CHECK_THROWS_AS((void)allocate_frame(100), std::bad_alloc);
        flush_frames();
        trim_frames();
    }
};

thread_local late late_on_this_thread;

}  // namespace

TEST_CASE("frame pool: a thread may allocate and free after its cache has gone")
{
    const auto before = frame_pool_stats().live_bytes;
    int frames_after = 0;
    std::thread{[&] {
        late_on_this_thread.frames_after = &frames_after;
        late_on_this_thread.held = take(300, 9);
    }}.join();
    CHECK(frames_after == 60);
    CHECK(frame_pool_stats().live_bytes == before);
}

TEST_CASE("frame pool: allocations fail when a test wants them to")
{
    const auto before = frame_pool_stats().live_bytes;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{300}, std::size_t{100000}}) {
        const piece held = take(size, 3);
        fail_next_frames(2);
        CHECK_THROWS_AS((void)allocate_frame(size), std::bad_alloc);
        give(held);  // freeing works meanwhile
        CHECK_THROWS_AS((void)allocate_frame(size), std::bad_alloc);
        give(take(size, 4));

        fail_next_frames(1000);
        std::thread{[size] { give(take(size, 5)); }}.join();  // this thread only
        fail_next_frames(0);
        give(take(size, 6));
    }
    CHECK(frame_pool_stats().live_bytes == before);
}

TEST_CASE("frame pool: a size that no system has throws bad_alloc")
{
    if (!sanitized && !under_valgrind())  // which would end the program
        CHECK_THROWS_AS((void)allocate_frame(SIZE_MAX / 4), std::bad_alloc);
}

TEST_CASE("frame pool: memory that runs out is bad_alloc, and all goes on when some is free again")
{
    if (sanitized || !frames_are_cached())
        return;
    const pid_t child = fork();
    if (child == 0) {
        std::vector<void*> frames;
        frames.reserve(1'000'000);
        rlimit limit{};
        getrlimit(RLIMIT_AS, &limit);
        std::size_t mapped = 0;
        std::ifstream{"/proc/self/statm"} >> mapped;
        limit.rlim_cur = mapped * 4096 + (std::size_t{64} << 20);
        setrlimit(RLIMIT_AS, &limit);
        int failures = 0;
        for (int round = 0; round != 3; ++round) {
            try {
                while (frames.size() != 1'000'000)
                    frames.push_back(allocate_frame(300));
            } catch (const std::bad_alloc&) {
                ++failures;
            }
            for (void* const frame : frames)
                free_frame(frame, 300);
            if (frames.size() < 100'000)
                _exit(2);
            frames.clear();
        }
        _exit(failures == 3 && frame_pool_stats().live_bytes == 0 ? 0 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("frame pool: off under Valgrind and sanitizers")
{
    if (under_valgrind())
        CHECK_FALSE(frames_are_cached());
#ifdef LEAT_FRAME_CACHE
    else
        CHECK(frames_are_cached() == (LEAT_FRAME_CACHE != 0));
#else
    else
        CHECK(frames_are_cached() == !sanitized);
#endif
}
