#include "sample.hpp"

#include "../../samples/pizza_kitchen.cpp"

TEST_CASE("pizza_kitchen: every order is served once, as soon as it is ready, and all go home")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance evening = perform(kitchen(), seed);

        CHECK(evening.printed == "0.41 s  pizza 3, baked for 0.11 s\n"
                                 "0.56 s  pizza 4, baked for 0.15 s\n"
                                 "0.68 s  pizza 5, baked for 0.12 s\n"
                                 "0.83 s  pizza 6, baked for 0.15 s\n"
                                 "0.93 s  pizza 2, baked for 0.73 s\n"
                                 "1.04 s  pizza 1, baked for 0.94 s\n"
                                 "1.37 s  pizza 7, baked for 0.54 s\n"
                                 "1.56 s  pizza 8, baked for 0.63 s\n"
                                 "everybody has gone home; 8 pizzas were served\n");
        CHECK(evening.taken == 1560ms);
        CHECK(evening.left_over == 0);
    }
}
