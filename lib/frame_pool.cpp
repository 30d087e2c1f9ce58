#include <leat/detail/frame_pool.hpp>
#include <leat/detail/spinlock.hpp>

#include "frame_regions.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <tuple>
#include <utility>

// Where a block of memory is, and who may touch it there.
//
//     thread cache ◀──magazines──▶ centre (per class) ◀──spans──▶ regions ◀──mmap──▶ system
//
//   class     Blocks come in sizes of 16, 32, … 2048 bytes; larger ones are operator new's, only counted.
//   block     While allocated it is the caller's, every byte. While free its first words link it to the next.
//   magazine  A chain of exactly magazine_blocks(class) free blocks: what moves between threads at a time, in
//             O(1). A thread holds up to two of each class: one in `lists`, in use, and one in `spares`, full
//             (so it must get through a whole magazine, one way, before it meets a lock).
//   span      64 KiB of blocks of one class, or unused. `out` counts the blocks that are elsewhere:
//             allocated, in threads' caches, or in the centre's magazines. A block freed by another thread
//             than allocated it just lies in that one's cache; nothing remembers where it came from.
//   region    4 MiB from mmap, aligned to its size, cut into 64 spans. The first page describes them, so that
//             a block's address leads to its span without a look at the span's memory.
//
// Who changes what:
//
//   - A thread's cache: that thread only. Others read `room` and `spares` for the statistics, which is why
//     they are atomic; nothing is ordered by them (relaxed).
//   - Magazines in the centre, and spans with a class: under that class's lock.
//   - Spans without a class, and the list of regions: under the lock of `regions`.
//   - Changing hands needs no lock: a span that is wholly free and taken out of its class's list belongs to
//     the thread that took it, until it enters `regions` (and the other way round). System calls are made
//     then, so none is made under a lock.
//   - all_caches.lock may be held when one of the others is taken; no others nest.
//
// What a block's next owner sees is ordered by the lock through which its magazine or span went; within one
// thread there is nothing to order.
//
// Who frees what: a thread's cache goes when its thread-local objects do (main thread: at exit), its blocks
// back to the spans. Later calls on that thread use the spans directly. A span that becomes wholly free goes
// into a reserve, and from there back to the system (madvise); a region without used spans is unmapped, but
// for one. The reserve is small at first, learns from bursts that recur, and forgets when a thread goes to
// sleep (see region_store::allowance_): to return a burst at once and want it back costs 25 times what the
// frames cost otherwise. The centre keeps fewer magazines the fewer blocks are out, and looks at that again when
// a thread goes to sleep, so that after a burst it is not they that hold the spans.
//
// The pointer `fast` leads to the thread's cache, or to `nothing`, which has no block and no room: then the
// slow path finds out why (first call, ending thread, fail_next_frames(), caching is off). So the fast path
// has no test for any of this.
//
// T7: thread-locals are touched only in functions here that are out of line and no coroutines, so no address
// of one is kept across a suspension; nor under link-time optimisation, hence the noinline in the header.
//
// Rejected: a span's descriptor at its own front (the descriptors of all spans would share a few sets of the
// CPU's cache); counting allocations with an atomic (twice the price of everything else).

// LEAT_FRAME_CACHE  0: off, frames are operator new's. 1: on, except under Valgrind. Not defined: off if this
// file is compiled for a sanitizer, or the program turns out to be.
#if !defined(LEAT_FRAME_CACHE) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define LEAT_FRAME_CACHE 0
#endif
#if !defined(LEAT_FRAME_CACHE) && defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer) || __has_feature(leak_sanitizer) || __has_feature(hwaddress_sanitizer)
#define LEAT_FRAME_CACHE 0
#endif
#endif

#ifdef LEAT_FRAME_CACHE
#define LEAT_FRAME_CACHE_ASKED_FOR 1
#else
#define LEAT_FRAME_CACHE_ASKED_FOR 0
#define LEAT_FRAME_CACHE 1
#endif

// A sanitized program may well use a library that is not.
extern "C" {
[[gnu::weak]] void __lsan_do_leak_check();  // also in AddressSanitizer
[[gnu::weak]] void __tsan_init();
[[gnu::weak]] void __msan_init();
[[gnu::weak]] void __hwasan_init();
}

namespace leat::detail {

using namespace frames;

namespace {

// ---- Sizes -------------------------------------------------------------------------------------

constexpr std::size_t spacing = 16;
constexpr std::size_t class_count = 128;
constexpr std::size_t largest_block = spacing * class_count;

/// Magazines the centre keeps of a class: one for so many out, at most so many.
constexpr std::size_t magazines_share = 4;
constexpr std::size_t magazines_most = 16;

/// A size of zero gives no class: it wraps to more than there are.
constexpr std::size_t class_of(std::size_t size) noexcept
{
    return (size - 1) / spacing;
}

constexpr std::size_t block_bytes(std::size_t index) noexcept
{
    return (index + 1) * spacing;
}

constexpr std::uint32_t magazine_blocks(std::size_t index) noexcept
{
    const std::size_t fit = std::size_t{16384} / block_bytes(index);
    return static_cast<std::uint32_t>(std::clamp(fit, std::size_t{8}, std::size_t{64}));
}

static_assert(sizeof(block) <= spacing);
static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 16);

constinit region_store regions;

// ---- Whether to cache at all -------------------------------------------------------------------

enum class caching : std::uint8_t { unknown, on, off };

constinit std::atomic<caching> settled{LEAT_FRAME_CACHE ? caching::unknown : caching::off};

bool under_valgrind() noexcept
{
    const char* const preload = std::getenv("LD_PRELOAD");
    return preload != nullptr && std::strstr(preload, "vgpreload") != nullptr;
}

bool under_sanitizer() noexcept
{
    return __lsan_do_leak_check != nullptr || __tsan_init != nullptr || __msan_init != nullptr ||
           __hwasan_init != nullptr;
}

[[gnu::cold, gnu::noinline]] caching settle() noexcept
{
    const bool off = under_valgrind() || (!LEAT_FRAME_CACHE_ASKED_FOR && under_sanitizer());
    const caching found = off ? caching::off : caching::on;
    caching before = caching::unknown;
    // Relaxed, here and in cached(): the flag is all there is to see. Of two threads the first decides.
    return settled.compare_exchange_strong(before, found, std::memory_order_relaxed) ? found : before;
}

bool cached() noexcept
{
    caching now = settled.load(std::memory_order_relaxed);
    if (now == caching::unknown) [[unlikely]]
        now = settle();
    return now == caching::on;
}

// ---- The centre --------------------------------------------------------------------------------

/// What of one class is not in threads' caches.
class alignas(64) central_list {
public:
    constexpr central_list() noexcept = default;

    /// A magazine, or less; never empty. Null if the system has no memory.
    std::pair<block*, std::uint32_t> take_magazine(std::size_t index) noexcept
    {
        const std::uint32_t full = magazine_blocks(index);
        span* fresh = nullptr;
        for (;;) {
            {
                std::lock_guard guard{lock_};
                if (fresh != nullptr)
                    link(fresh);
                if (magazines_ != nullptr && fresh == nullptr)
                    return {pop_magazine(), full};
                if (partial_ != nullptr)
                    return take_from_spans(index, full);
            }
            fresh = regions.take();
            if (fresh == nullptr)
                return {nullptr, 0};
            start(fresh, index);
        }
    }

    /// For threads without a cache. Null if the system has no memory.
    block* take_one(std::size_t index) noexcept
    {
        span* fresh = nullptr;
        for (;;) {
            {
                std::lock_guard guard{lock_};
                if (fresh != nullptr)
                    link(fresh);
                if (partial_ != nullptr)
                    return take_from_spans(index, 1).first;
            }
            fresh = regions.take();
            if (fresh == nullptr)
                return nullptr;
            start(fresh, index);
        }
    }

    /// A full one.
    void give_magazine(std::size_t index, block* magazine) noexcept
    {
        span* emptied = nullptr;
        {
            std::lock_guard guard{lock_};
            magazine->next_magazine = magazines_;
            magazines_ = magazine;
            ++held_;
            // Two at most, so that the lock is not held for long.
            for (int i = 0; i != 2 && held_ > due(index); ++i)
                give_to_spans(index, pop_magazine(), emptied);
        }
        give_up(emptied);
    }

    /// Any number, back to their spans.
    void give_blocks(std::size_t index, block* chain) noexcept
    {
        while (chain != nullptr) {
            // As many as a magazine has for each time the lock is taken.
            block* const first = chain;
            block* last = chain;
            for (std::uint32_t i = magazine_blocks(index); i != 1 && last->next != nullptr; --i)
                last = last->next;
            chain = std::exchange(last->next, nullptr);
            span* emptied = nullptr;
            {
                std::lock_guard guard{lock_};
                give_to_spans(index, first, emptied);
            }
            give_up(emptied);
        }
    }

    /// Magazines, as far as there are more than are due, back to their spans: all of them if nothing else is out.
    void relax(std::size_t index) noexcept
    {
        shed(index, false);
    }

    void drain(std::size_t index) noexcept
    {
        shed(index, true);
    }

    struct counts {
        std::size_t out;
        std::size_t in_magazines;
    };

    counts count(std::size_t index) noexcept
    {
        std::lock_guard guard{lock_};
        return {out_, held_ * magazine_blocks(index)};
    }

private:
    /// How many magazines to keep. Under the lock.
    std::size_t due(std::size_t index) const noexcept
    {
        return std::min(magazines_most, out_ / (magazine_blocks(index) * magazines_share));
    }

    void shed(std::size_t index, bool all) noexcept
    {
        for (;;) {
            span* emptied = nullptr;
            {
                std::lock_guard guard{lock_};
                if (held_ <= (all ? 0 : due(index)))
                    return;
                give_to_spans(index, pop_magazine(), emptied);
            }
            give_up(emptied);
        }
    }

    static void start(span* s, std::size_t index) noexcept
    {
        s->free = nullptr;
        s->out = 0;
        s->carved = 0;
        s->blocks = static_cast<std::uint32_t>(bytes_of(s) / block_bytes(index));
        s->index = static_cast<std::uint32_t>(index);
    }

    block* pop_magazine() noexcept
    {
        block* const magazine = magazines_;
        magazines_ = magazine->next_magazine;
        --held_;
        return magazine;
    }

    /// Pre: partial_ is not empty.
    std::pair<block*, std::uint32_t> take_from_spans(std::size_t index, std::uint32_t wanted) noexcept
    {
        block* chain = nullptr;
        block** end = &chain;
        std::uint32_t got = 0;
        while (got != wanted && partial_ != nullptr) {
            span* const s = partial_;
            std::uint32_t here = 0;
            for (; got + here != wanted && s->free != nullptr; ++here) {
                *end = s->free;
                end = &s->free->next;
                s->free = s->free->next;
            }
            std::byte* fresh = begin_of(s) + s->carved * block_bytes(index);
            for (; got + here != wanted && s->carved != s->blocks; ++here, ++s->carved) {
                *end = ::new (static_cast<void*>(fresh)) block;
                end = &(*end)->next;
                fresh += block_bytes(index);
            }
            s->out += here;
            got += here;
            if (s->out == s->blocks)
                unlink(s);
        }
        *end = nullptr;
        out_ += got;
        return {chain, got};
    }

    /// Spans that become wholly free leave the class and join `emptied`.
    void give_to_spans(std::size_t index, block* chain, span*& emptied) noexcept
    {
        while (chain != nullptr) {
            block* const b = std::exchange(chain, chain->next);
            span* const s = span_of(b);
            assert(s->index == index && s->out != 0 && "leat: a frame is freed with a size not its own");
            (void)index;
            b->next = s->free;
            s->free = b;
            --out_;
            // A span that was full goes to the front: the fuller are used up, the others may become empty.
            if (s->out-- == s->blocks)
                link(s);
            if (s->out == 0) {
                unlink(s);
                s->next = emptied;
                emptied = s;
            }
        }
    }

    static void give_up(span* emptied) noexcept
    {
        while (emptied != nullptr)
            regions.give(std::exchange(emptied, emptied->next));
    }

    void link(span* s) noexcept
    {
        s->prev = nullptr;
        s->next = partial_;
        if (partial_ != nullptr)
            partial_->prev = s;
        partial_ = s;
    }

    void unlink(span* s) noexcept
    {
        (s->prev != nullptr ? s->prev->next : partial_) = s->next;
        if (s->next != nullptr)
            s->next->prev = s->prev;
    }

    spinlock lock_;
    block* magazines_ = nullptr;
    std::size_t held_ = 0;     // magazines
    span* partial_ = nullptr;  // spans that have a block to give
    std::size_t out_ = 0;      // blocks not in spans
};

constinit std::array<central_list, class_count> centre;

/// Bytes that went past the pool: large blocks, or all if caching is off.
constinit std::atomic<std::size_t> uncached_bytes{0};

// ---- Threads -----------------------------------------------------------------------------------

template <class T>
class published {  // written by one thread, plainly; read by others, for what it is worth
public:
    constexpr explicit published(T value) noexcept : value_{value}
    {
    }
    T get() const noexcept
    {
        return value_.load(std::memory_order_relaxed);
    }
    void set(T value) noexcept
    {
        value_.store(value, std::memory_order_relaxed);
    }

private:
    std::atomic<T> value_;
};

struct free_list {
    block* head = nullptr;
    published<std::uint32_t> room{0};  // how many more may come: a magazine less what is there
};

struct alignas(64) thread_cache {
    std::array<free_list, class_count> lists;
    std::array<published<block*>, class_count> spares;
    thread_cache* prev = nullptr;
    thread_cache* next = nullptr;

    template <std::size_t... I>
    constexpr explicit thread_cache(std::index_sequence<I...> /*classes*/) noexcept
        : spares{((void)I, published<block*>{nullptr})...}
    {
    }
};

static_assert(std::atomic<block*>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

constinit thread_cache nothing{std::make_index_sequence<class_count>{}};

class cache_registry {
public:
    constexpr cache_registry() noexcept = default;

    void add(thread_cache* c) noexcept
    {
        std::lock_guard guard{lock};
        c->next = first;
        if (first != nullptr)
            first->prev = c;
        first = c;
    }

    void remove(thread_cache* c) noexcept
    {
        std::lock_guard guard{lock};
        (c->prev != nullptr ? c->prev->next : first) = c->next;
        if (c->next != nullptr)
            c->next->prev = c->prev;
    }

    spinlock lock;
    thread_cache* first = nullptr;
};

constinit cache_registry all_caches;

struct thread_state {
    thread_cache* fast;           // &nothing, or own
    thread_cache* own = nullptr;  // null: not made yet, or gone
    std::uint32_t failures = 0;   // still to come
    std::uint32_t before = 0;     // allocations that succeed before the first of them
    bool ended = false;           // no cache any more
};

// Static TLS costs one instruction; 32 bytes of it are to be had in a library that is loaded late, too.
[[gnu::tls_model("initial-exec")]] constinit thread_local thread_state this_thread{&nothing};

// The one way to this_thread. The asm keeps the compiler from taking it for a function of nothing (T7).
[[gnu::always_inline]] inline thread_state& state() noexcept
{
    asm volatile("");
    return this_thread;
}

void flush(thread_cache& c) noexcept
{
    for (std::size_t i = 0; i != class_count; ++i) {
        free_list& list = c.lists[i];
        if (block* const chain = std::exchange(list.head, nullptr)) {
            list.room.set(magazine_blocks(i));
            centre[i].give_blocks(i, chain);
        }
        if (block* const chain = c.spares[i].get()) {
            c.spares[i].set(nullptr);
            centre[i].give_blocks(i, chain);
        }
        // What it gave may be what the magazines were kept for.
        centre[i].relax(i);
    }
}

/// Ends this thread's cache. Its destructor runs before that of any thread-local object made before, which
/// therefore finds `ended`.
struct cache_end {
    ~cache_end()
    {
        thread_state& t = state();
        thread_cache* const c = std::exchange(t.own, nullptr);
        t.fast = &nothing;
        t.ended = true;
        flush(*c);
        all_caches.remove(c);
        delete c;
    }
};

/// This thread's cache; null if it has none, and is to have none.
thread_cache* cache_of(thread_state& t) noexcept
{
    if (t.own != nullptr || t.ended)
        return t.own;
    auto* const c = new (std::nothrow) thread_cache{std::make_index_sequence<class_count>{}};
    if (c == nullptr)
        return nullptr;
    for (std::size_t i = 0; i != class_count; ++i)
        c->lists[i].room.set(magazine_blocks(i));
    all_caches.add(c);
    t.own = c;
    if (t.failures == 0)
        t.fast = c;
    static thread_local cache_end at_end;
    (void)at_end;
    return c;
}

[[gnu::cold]] void fail_if_asked(thread_state& t)
{
    if (t.failures == 0)
        return;
    if (t.before != 0) {
        --t.before;
        return;
    }
    if (--t.failures == 0 && t.own != nullptr)
        t.fast = t.own;
    throw std::bad_alloc{};
}

[[gnu::noinline]] void* allocate_slowly(std::size_t size)
{
    thread_state& t = state();
    fail_if_asked(t);
    if (size == 0)
        size = 1;
    if (size > largest_block || !cached()) {
        void* const p = ::operator new(size);
        uncached_bytes.fetch_add(size, std::memory_order_relaxed);
        return p;
    }
    const std::size_t i = class_of(size);
    thread_cache* const c = cache_of(t);
    if (c == nullptr) {
        if (block* const b = centre[i].take_one(i))
            return b;
        throw std::bad_alloc{};
    }
    free_list& list = c->lists[i];
    if (list.head == nullptr) {
        std::uint32_t blocks = magazine_blocks(i);
        list.head = c->spares[i].get();
        if (list.head != nullptr)
            c->spares[i].set(nullptr);
        else
            std::tie(list.head, blocks) = centre[i].take_magazine(i);
        if (list.head == nullptr)
            throw std::bad_alloc{};
        list.room.set(magazine_blocks(i) - blocks);
    }
    list.room.set(list.room.get() + 1);
    return std::exchange(list.head, list.head->next);
}

[[gnu::noinline]] void free_slowly(void* frame, std::size_t size) noexcept
{
    thread_state& t = state();
    if (size == 0)
        size = 1;
    if (size > largest_block || !cached()) {
        uncached_bytes.fetch_sub(size, std::memory_order_relaxed);
        ::operator delete(frame);
        return;
    }
    const std::size_t i = class_of(size);
    auto* const b = ::new (frame) block;
    thread_cache* const c = cache_of(t);
    if (c == nullptr) {
        b->next = nullptr;
        centre[i].give_blocks(i, b);
        return;
    }
    free_list& list = c->lists[i];
    if (list.room.get() == 0) {
        if (block* const full = c->spares[i].get())
            centre[i].give_magazine(i, full);
        c->spares[i].set(std::exchange(list.head, nullptr));
        list.room.set(magazine_blocks(i));
    }
    b->next = list.head;
    list.head = b;
    list.room.set(list.room.get() - 1);
}

}  // namespace

void* allocate_frame(std::size_t size)
{
    const std::size_t i = class_of(size);
    if (i >= class_count) [[unlikely]]
        return allocate_slowly(size);
    free_list& list = state().fast->lists[i];
    block* const b = list.head;
    if (b == nullptr) [[unlikely]]
        return allocate_slowly(size);
    list.head = b->next;
    list.room.set(list.room.get() + 1);
    return b;
}

void free_frame(void* frame, std::size_t size) noexcept
{
    const std::size_t i = class_of(size);
    if (i >= class_count) [[unlikely]]
        return free_slowly(frame, size);
    free_list& list = state().fast->lists[i];
    const std::uint32_t room = list.room.get();
    if (room == 0) [[unlikely]]
        return free_slowly(frame, size);
    auto* const b = ::new (frame) block;
    b->next = list.head;
    list.head = b;
    list.room.set(room - 1);
}

void flush_frames() noexcept
{
    if (thread_cache* const c = state().own)
        flush(*c);
    regions.relax();
}

void trim_frames() noexcept
{
    if (thread_cache* const c = state().own)
        flush(*c);
    for (std::size_t i = 0; i != class_count; ++i)
        centre[i].drain(i);
    regions.trim();
}

frame_stats frame_pool_stats() noexcept
{
    frame_stats stats;
    std::lock_guard guard{all_caches.lock};
    for (std::size_t i = 0; i != class_count; ++i) {
        const auto [out, in_magazines] = centre[i].count(i);
        std::size_t free = in_magazines;
        for (const thread_cache* c = all_caches.first; c != nullptr; c = c->next) {
            free += magazine_blocks(i) - c->lists[i].room.get();
            free += c->spares[i].get() != nullptr ? magazine_blocks(i) : 0;
        }
        // Blocks may have moved between the two looks.
        free = std::min(free, out);
        stats.live_bytes += (out - free) * block_bytes(i);
        stats.cached_bytes += free * block_bytes(i);
    }
    const std::size_t uncached = uncached_bytes.load(std::memory_order_relaxed);
    stats.live_bytes += uncached;
    stats.system_bytes = regions.bytes() + uncached;
    return stats;
}

bool frames_are_cached() noexcept
{
    return cached();
}

std::size_t fail_next_frames(std::size_t n, std::size_t after) noexcept
{
    thread_state& t = state();
    const std::size_t left = std::exchange(t.failures, static_cast<std::uint32_t>(n));
    t.before = static_cast<std::uint32_t>(after);
    t.fast = n == 0 && t.own != nullptr ? t.own : &nothing;
    return left;
}

}  // namespace leat::detail
