#include "sample.hpp"

#include "../../samples/pizza_kitchen.cpp"

TEST_CASE("pizza_kitchen: every order is served once, as soon as it is ready, and all go home")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance evening = perform(kitchen(), seed);

        CHECK(evening.printed == "");
        CHECK(evening.taken == 1950ms);
        CHECK(evening.left_over == 0);
    }
}
