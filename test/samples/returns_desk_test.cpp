#include "sample.hpp"

#include "../../samples/returns_desk.cpp"

TEST_CASE(
    "returns_desk: everybody has every event in time but the one who is slow, who can tell what was lost")
{
    check_as_described(SAMPLES "/returns_desk.cpp", shop, 1800ms);

    const std::string printed = perform(shop()).printed;
    for (const int item : {1, 3, 6, 9, 10})
        CHECK(printed.find("letters: item " + std::to_string(item) + ",") != std::string::npos);
    for (const int item : {2, 4, 5, 7, 8})
        CHECK(printed.find("letters: item " + std::to_string(item) + ",") == std::string::npos);
}
