#include "sample.hpp"

#include "../../samples/dining_philosophers.cpp"

TEST_CASE("dining_philosophers: who takes the smaller fork first gets the other, and everybody eats")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance evening = perform(dinner(manners::smaller_fork_first), seed);

        CHECK(evening.printed == "0.033 s  Ibn Rushd eats\n"
                                 "0.072 s  Zhuangzi eats\n"
                                 "0.108 s  Hypatia eats\n"
                                 "0.118 s  Ibn Rushd eats\n"
                                 "0.141 s  Plato eats\n"
                                 "0.157 s  Zhuangzi eats\n"
                                 "0.181 s  Spinoza eats\n"
                                 "0.193 s  Hypatia eats\n"
                                 "0.233 s  Plato eats\n"
                                 "0.273 s  Spinoza eats\n"
                                 "0.315 s  everybody has eaten 2 times\n");
        CHECK(evening.left_over == 0);
    }
}

TEST_CASE("dining_philosophers: who takes the left fork first may starve, and the report says for what")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        std::string why;
        try {
            perform(dinner(manners::left_fork_first), seed);
        } catch (const leat::deadlock_error& error) {
            why = error.what();
        }
        for (const char* name : names) {
            INFO(why);
            CHECK(why.find(std::string{"\""} + name + "\" waits for: mutex \"fork ") != std::string::npos);
        }
        CHECK(why.find("mutex \"fork 0\", held by task ") != std::string::npos);
        CHECK(why.find("\"Plato\"") != std::string::npos);
    }
}
