// A program that knows leat only as a user does.
#include <leat/leat.hpp>

#include <cstdio>

leat::task<int> square(int n)
{
    co_return n* n;
}

leat::task<int> sum_of_squares(int n)
{
    int sum = 0;
    for (int i = 1; i <= n; ++i)
        sum += co_await square(i);
    co_return sum;
}

int main()
{
    const int sum = leat::run(sum_of_squares(10));
    std::printf("%d\n", sum);
    return sum == 385 ? 0 : 1;
}
