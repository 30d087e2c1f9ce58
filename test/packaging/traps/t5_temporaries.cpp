// T5 canary: rejects an initializer list of temporaries as an argument in a co_await expression
// instead: Name the vector: `std::vector<item> v{item{}, item{}}; co_await f(std::move(v));`.
// flags: -O0
#include <leat/task.hpp>

#include <vector>

class item {
public:
    item();
    item(const item&);
    ~item();
};

template <class T>
leat::task<std::size_t> count(std::vector<T> v)
{
    co_return v.size();
}

leat::task<std::size_t> ask()
{
    const std::size_t n = co_await count<item>({item{}, item{}});
    co_return n;
}
