#include "sample.hpp"

#include "../../samples/car_factory.cpp"

TEST_CASE("car_factory: a failed safety test ends every station, in any order of events")
{
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        const performance shift = perform(factory(), seed);

        CHECK(shift.printed ==
              "0.85 s  car 1: chassis, engine, paint, tires\n"
              "1.15 s  car 2: chassis, engine, paint, tires\n"
              "1.45 s  car 3: chassis, engine, paint, tires\n"
              "1.75 s  car 4: chassis, engine, paint, tires\n"
              "2.05 s  the line has stopped: car 5: chassis, engine, paint, tires, but no brakes\n");
        CHECK(shift.taken == 2050ms);
        CHECK(shift.left_over == 0);
    }
}
