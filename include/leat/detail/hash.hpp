// std::hash and std::equal_to, the defaults of what has keys.
//
// Officially they are in <functional>, which is large; see reference.hpp. libstdc++ has files of their own for them,
// which <string> includes anyway.
#pragma once

#include <version>

#if defined(__GLIBCXX__) && __has_include(<bits/functional_hash.h>) && __has_include(<bits/stl_function.h>)
#include <bits/functional_hash.h>
#include <bits/stl_function.h>
#else
#include <functional>
#endif
