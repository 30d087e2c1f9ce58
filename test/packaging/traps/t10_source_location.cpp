// T10 canary: has no std::source_location
// instead: leat uses the compiler's builtins where it must.
// flags: -O0
#include <source_location>

unsigned line()
{
    return std::source_location::current().line();
}
