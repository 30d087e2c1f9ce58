// Five philosophers, five forks, and what a deadlock looks like
//
// The problem: philosophers sit around a table, a fork between each two. Who wants to eat needs both forks beside him.
// If each takes the left one first, the day comes when all hold one fork and wait for the other, for ever.
//
//       ╱  0  ╲
//      4       1        a fork is a leat::mutex: who waits for it is suspended, and
//       ╲ 3 ─ 2╱        keeps it over whatever he awaits
//
// The cure: everybody takes the fork with the smaller number first. Without it nobody hangs either: leat notices that all
// wait, and throws a deadlock_error, which says who waits for which fork.
//
// Run it with   ./dev run dining_philosophers
//
//     0.033 s  Ibn Rushd eats
//     ...
//     0.315 s  everybody has eaten 2 times

#include <leat/leat.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>

namespace {

using namespace std::chrono_literals;
using seconds = std::chrono::duration<double>;

enum class manners { left_fork_first, smaller_fork_first };

struct table {
    std::array<leat::mutex, 5> forks{leat::mutex{"fork 0"}, leat::mutex{"fork 1"}, leat::mutex{"fork 2"},
                                     leat::mutex{"fork 3"}, leat::mutex{"fork 4"}};
    leat::clock::time_point opened = leat::clock::now();
};

constexpr std::array names{"Plato", "Hypatia", "Zhuangzi", "Ibn Rushd", "Spinoza"};
constexpr int hunger = 2;

leat::task<> dine(table& at, std::size_t seat, manners how)
{
    std::size_t first = seat, second = (seat + 1) % at.forks.size();
    if (how == manners::smaller_fork_first && second < first)
        std::swap(first, second);
    for (int meal = 0; meal < hunger; ++meal) {
        co_await leat::sleep_for(20ms + seat * 1ms);  // thinks
        const auto one = co_await at.forks[first].lock();
        co_await leat::sleep_for(10ms);  // reaches for the other
        const auto other = co_await at.forks[second].lock();
        std::printf("%.3f s  %s eats\n", seconds(leat::clock::now() - at.opened).count(), names[seat]);
        co_await leat::sleep_for(30ms + seat * 3ms);
    }
}

leat::task<> dinner(manners how)
{
    table evening;
    co_await leat::with_group([&](leat::task_group& guests) -> leat::task<> {
        for (std::size_t seat = 0; seat < names.size(); ++seat)
            co_await guests.spawn(dine(evening, seat, how), {.name = names[seat]});
    });
    std::printf("%.3f s  everybody has eaten %d times\n",
                seconds(leat::clock::now() - evening.opened).count(), hunger);
}

}  // namespace

int main()
{
    leat::run(dinner(manners::smaller_fork_first));
}
