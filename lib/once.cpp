#include <leat/sync/once.hpp>

#include <leat/error.hpp>

namespace leat::detail {

void throw_no_factory()
{
    throw usage_error{
        "leat: once_value::get() without a function, of a once_value that was made without one"};
}

}  // namespace leat::detail
