#include "sample.hpp"

#include "../../samples/web_cache.cpp"

TEST_CASE("web_cache: every page is fetched once for all who ask, two at a time, and three are kept")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance run = perform(day(), seed);

        CHECK(run.printed == "0.10 s  zoe has given up on /news\n"
                             "0.30 s  ann has got /news, fetched with others\n"
                             "0.30 s  ben has got /news, fetched with others\n"
                             "0.22 s  cat has got /shop, fetched\n"
                             "0.32 s  dan has got /blog, fetched\n"
                             "0.40 s  eve has got /news, from the cache\n"
                             "0.51 s  fay has got /help, fetched\n"
                             "0.80 s  gus has got /shop, fetched\n"
                             "5 pages were fetched, at most 2 at a time\n");
        CHECK(run.taken == 800ms);
        CHECK(run.left_over == 0);
    }
}
