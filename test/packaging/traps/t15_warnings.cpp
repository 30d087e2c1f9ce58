// T15 regression: a plain program gives no warning with the flags that users have
// flags: -O1 -Werror -Wnull-dereference | -O2 -Werror -Wnull-dereference | -O3 -Werror -Wnull-dereference -Wshadow -Wconversion
#include <leat/leat.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace {

leat::task<std::string> read(int n)
{
    co_return std::string(static_cast<std::size_t>(n), 'x');
}

leat::task<std::optional<std::string>> perhaps(int n)
{
    std::optional<std::string> found;
    if (n > 0)
        found = co_await read(n);
    co_return found;
}

leat::task<std::size_t> work(leat::receiver<int> from)
{
    std::size_t size = 0;
    while (auto n = co_await from.recv()) {
        auto text = co_await perhaps(*n);
        if (text)
            size += text->size();
    }
    co_return size;
}

leat::task<std::size_t> both()
{
    leat::channel<int> numbers{4};
    for (int i = 0; i < 4; ++i)
        co_await numbers.send(i);
    numbers.close();
    auto [a, b] = co_await leat::when_all(work(numbers), read(3));
    const auto late = co_await leat::as_result(leat::timeout(std::chrono::seconds{1}, read(1)));
    co_return a + b.size() + (late ? late.value().size() : 0);
}

}  // namespace

int main()
{
    return leat::run(both()) == 10 ? 0 : 1;
}
