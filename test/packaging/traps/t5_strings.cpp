// T5 canary: rejects an initializer list of strings as an argument in a co_await expression
// instead: Name the vector: `std::vector<std::string> v{"a", "b"}; co_await f(std::move(v));`.
// flags: -O0
#include <leat/task.hpp>

#include <string>
#include <vector>

template <class T>
leat::task<std::size_t> count(std::vector<T> v)
{
    co_return v.size();
}

leat::task<std::size_t> ask()
{
    const std::size_t n = co_await count<std::string>({"a", "b"});
    co_return n;
}
