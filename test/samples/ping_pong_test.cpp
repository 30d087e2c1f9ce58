#include "sample.hpp"

#include "../../samples/ping_pong.cpp"

TEST_CASE("ping_pong: players take turns, and the referee ends the match")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance game = perform(match(), seed);

        CHECK(game.printed == "ping 1\n"
                              "pong 2\n"
                              "ping 3\n"
                              "pong 4\n"
                              "ping 5\n"
                              "pong 6\n"
                              "time: the ball has been hit 6 times\n");
        CHECK(game.taken == 620ms);
        CHECK(game.left_over == 0);
    }
}
