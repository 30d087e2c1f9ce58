// Five philosophers, five forks, and what a deadlock looks like
//
// The problem: philosophers sit around a table, a fork between each two. Who wants to eat needs both forks beside him.
// If each takes the left one first, the day comes when all hold one fork and wait for the other, for ever.
//
//            0
//         ╱     ╲        a fork is a leat::mutex: who waits for it is suspended,
//       4         1      and keeps it over whatever he awaits
//        ╲       ╱
//         3 ─── 2
//
// The cure is an order: everybody takes the fork with the smaller number first. Then the one who holds the largest fork
// that is held at all can always go on. Run without the cure, nobody hangs either: leat notices that all wait, and
// throws a deadlock_error, whose text says who waits for which fork, and who has that.
//
// Run it with   ./dev run dining_philosophers
//
//     0.033 s  Ibn Rushd eats
//     0.072 s  Zhuangzi eats
//     ...
//     0.315 s  everybody has eaten 2 times

#include <leat/leat.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <vector>

namespace {

using namespace std::chrono_literals;
using seconds = std::chrono::duration<double>;

enum class manners { left_fork_first, smaller_fork_first };

struct table {
    std::array<leat::mutex, 5> forks{leat::mutex{"fork 0"}, leat::mutex{"fork 1"}, leat::mutex{"fork 2"},
                                     leat::mutex{"fork 3"}, leat::mutex{"fork 4"}};
    leat::clock::time_point opened = leat::clock::now();
    std::array<int, 5> meals{};
};

constexpr std::array names{"Plato", "Hypatia", "Zhuangzi", "Ibn Rushd", "Spinoza"};
constexpr int hunger = 2;

leat::task<> dine(table& at, std::size_t seat, manners how)
{
    std::size_t first = seat;
    std::size_t second = (seat + 1) % at.forks.size();
    if (how == manners::smaller_fork_first && second < first)
        std::swap(first, second);
    for (int meal = 0; meal < hunger; ++meal) {
        co_await leat::sleep_for(20ms + seat * 1ms);  // thinks
        const auto one = co_await at.forks[first].lock();
        co_await leat::sleep_for(10ms);  // reaches for the other
        const auto other = co_await at.forks[second].lock();
        std::printf("%.3f s  %s eats\n", seconds(leat::clock::now() - at.opened).count(), names[seat]);
        co_await leat::sleep_for(30ms + seat * 3ms);
        ++at.meals[seat];
    }
}

leat::task<> dinner(manners how)
{
    table evening;
    co_await leat::with_group([&](leat::task_group& guests) -> leat::task<> {
        for (std::size_t seat = 0; seat < names.size(); ++seat)
            co_await guests.spawn(dine(evening, seat, how), {.name = names[seat]});
    });
    const int fewest = *std::min_element(evening.meals.begin(), evening.meals.end());
    std::printf("%.3f s  everybody has eaten %d times\n",
                seconds(leat::clock::now() - evening.opened).count(), fewest);
}

}  // namespace

int main()
{
    leat::run(dinner(manners::smaller_fork_first));
}
