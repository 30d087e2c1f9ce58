// Durations, time points and clocks: what of <chrono> leat's declarations need.
//
// libstdc++ keeps calendars, formatting and the string streams those need in the same <chrono>: half of what it
// costs to compile, and a tenth of what <leat/leat.hpp> does. The part that <mutex> and <thread> use has a file
// of its own. It is an internal one; wherever it is not found, <chrono> does.
#pragma once

#include <version>

#if defined(__GLIBCXX__) && __has_include(<bits/chrono.h>)
#include <bits/chrono.h>
#else
#include <chrono>
#endif
