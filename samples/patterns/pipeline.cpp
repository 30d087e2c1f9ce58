// Pipeline: stages that run at once, as a value
//
// The problem: letters are stamped by three machines, which take different times; they leave in the order in which they
// came, in bags of four, and a bag does not wait for its last letter for longer than half a second.
//
//     letters ─▶ filter ─▶ map, 3 workers, in order ─▶ batch of 4, or 0.5 s ─▶ for_each
//
// A pipeline is described before it runs; awaiting it runs it. The first failure of a stage ends all of them, upwards and
// downwards, and is thrown when they have ended.
//
// Run it with   ./dev run patterns_pipeline
// It prints
//
//     0.50 s  a bag with letters 1 2 3 4
//     1.00 s  a bag with letters 5 6 7
//     1.50 s  a bag with letters 8 9

#include <leat/flow.hpp>
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {
using namespace std::chrono_literals;

leat::task<int> stamp(int letter)
{
    co_await leat::sleep_for(letter == 8 ? 1s : letter % 2 == 0 ? 300ms : 200ms);
    co_return letter;
}

leat::task<> post_office()
{
    const auto begin = leat::clock::now();
    std::vector<int> letters{1, 2, 0, 3, 4, 5, 6, 0, 7, 8, 9};
    auto has_address = [](int letter) { return letter != 0; };
    auto hand_over = [begin](std::vector<int> bag) {
        std::string names;
        for (const int letter : bag)
            names += " " + std::to_string(letter);
        std::printf("%.2f s  a bag with letters%s\n",
                    std::chrono::duration<double>(leat::clock::now() - begin).count(), names.c_str());
    };
    auto line = leat::from(std::move(letters)) | leat::filter(has_address) |
                leat::map(stamp, {.workers = 3, .ordered = true}) | leat::batch(4, 500ms) |
                leat::for_each(hand_over);
    co_await std::move(line);
}
}  // namespace

int main()
{
    leat::run(post_office());
}
