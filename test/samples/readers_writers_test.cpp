#include "sample.hpp"

#include "../../samples/readers_writers.cpp"

TEST_CASE(
    "readers_writers: readers do not wait for each other, the writer does not wait for all, none sees half")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance day = perform(opening_hours(), seed);

        CHECK(day.printed == "0.027 s  customer 1 pays 1.00\n"
                             "0.034 s  customer 2 pays 1.00\n"
                             "0.034 s  the bank has put in 1.05\n"
                             "0.060 s  customer 3 pays 1.05\n"
                             "0.062 s  customer 4 pays 1.05\n"
                             "0.064 s  customer 5 pays 1.05\n"
                             "0.066 s  customer 6 pays 1.05\n"
                             "0.066 s  the auditor signs 1.05\n"
                             "0.066 s  closed, and audited\n");
        CHECK(day.left_over == 0);
    }
}
