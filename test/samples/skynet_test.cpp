#include "sample.hpp"

#include "../../samples/skynet.cpp"

TEST_CASE("skynet: the sum of all numbers comes up the tree")
{
    const performance small = perform(measure(10));
    CHECK(small.printed == "45\n11 tasks in 0.0 s\n");
    CHECK(small.left_over == 0);

    const performance big = perform(measure(10'000));
    CHECK(big.printed == "49995000\n11111 tasks in 0.0 s\n");
    CHECK(big.left_over == 0);
}
