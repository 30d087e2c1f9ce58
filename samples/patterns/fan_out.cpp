// Fan out: many pieces of work at once, one answer each
//
// The problem: three shops are asked for their price. Asking them one after the other takes as long as all together.
//
//            ┌──▶ shop ──┐
//     you ───┼──▶ shop ──┼──▶ the answers, in the order of the questions
//            └──▶ shop ──┘
//
// when_all runs tasks side by side. If one fails the others are cancelled, and the failure is thrown once all have ended.
//
// Run it with   ./dev run patterns_fan_out
// It prints
//
//     corner shop: 12
//     market: 9
//     mail order: 11
//     after 0.30 s, that of the slowest

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;

leat::task<int> ask(std::string shop)
{
    co_await leat::sleep_for(shop == "market" ? 300ms : 100ms);
    co_return shop == "market" ? 9 : shop == "mail order" ? 11 : 12;
}

leat::task<> compare()
{
    const auto begin = leat::clock::now();
    const std::vector<std::string> shops = {"corner shop", "market", "mail order"};
    std::vector<leat::task<int>> questions;
    for (const std::string& shop : shops)
        questions.push_back(ask(shop));
    const std::vector<int> prices = co_await leat::when_all(questions);
    for (std::size_t i = 0; i < shops.size(); ++i)
        std::printf("%s: %d\n", shops[i].c_str(), prices[i]);
    std::printf("after %.2f s, that of the slowest\n",
                std::chrono::duration<double>(leat::clock::now() - begin).count());
}

}  // namespace

int main()
{
    leat::run(compare());
}
