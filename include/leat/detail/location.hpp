#pragma once

#include <version>

#include <cstdint>

#if defined(__cpp_lib_source_location)
#include <source_location>
#endif

namespace leat::detail {

/// A place in the user's source. One pointer where the compiler has std::source_location; Clang 14 with
/// libstdc++ 12 has not, and gets the three builtins instead.
class location {
public:
    constexpr location() noexcept = default;

#if defined(__cpp_lib_source_location)
    constexpr location(std::source_location place) noexcept : place_{place}
    {
    }
    static constexpr location current(std::source_location place = std::source_location::current()) noexcept
    {
        return location{place};
    }
    constexpr const char* file() const noexcept
    {
        return place_.file_name();
    }
    constexpr const char* function() const noexcept
    {
        return place_.function_name();
    }
    constexpr std::uint_least32_t line() const noexcept
    {
        return place_.line();
    }

private:
    std::source_location place_{};
#else
    static constexpr location current(const char* file = __builtin_FILE(),
                                      const char* function = __builtin_FUNCTION(),
                                      unsigned line = __builtin_LINE()) noexcept
    {
        location here;
        here.file_ = file;
        here.function_ = function;
        here.line_ = line;
        return here;
    }
    constexpr const char* file() const noexcept
    {
        return file_;
    }
    constexpr const char* function() const noexcept
    {
        return function_;
    }
    constexpr std::uint_least32_t line() const noexcept
    {
        return line_;
    }

private:
    const char* file_ = "";
    const char* function_ = "";
    std::uint_least32_t line_ = 0;
#endif
};

}  // namespace leat::detail
