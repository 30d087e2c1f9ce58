// What a fuzz target is made of: NAME_fuzz.cpp defines one_input(), which is called with what libFuzzer makes up, or, by
// replay.cpp on every compiler, with each file of corpus/NAME.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace fuzz {

/// Ends the program if something is wrong.
void one_input(std::string_view input);

inline void expect(bool good, const char* otherwise)
{
    if (good)
        return;
    std::fprintf(stderr, "fuzz: %s\n", otherwise);
    std::abort();
}

}  // namespace fuzz
