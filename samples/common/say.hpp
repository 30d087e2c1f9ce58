#pragma once

#include <leat/time.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace common {

/// Prints a line that begins with how many seconds have gone by.
inline void say(leat::clock::time_point since, const std::string& what)
{
    const std::chrono::duration<double> gone = leat::clock::now() - since;
    std::printf("%.2f s  %s\n", gone.count(), what.c_str());
}

}  // namespace common
