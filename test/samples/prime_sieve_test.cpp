#include "sample.hpp"

#include "../../samples/prime_sieve.cpp"

TEST_CASE("prime_sieve: the chain finds the first primes, and ends")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance search = perform(sieve(), seed);

        CHECK(search.printed == "2 3 5 7 11 13 17 19 23 29\n");
        CHECK(search.left_over == 0);
    }
}
