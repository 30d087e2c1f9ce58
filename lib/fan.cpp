#include <leat/flow/fan.hpp>

namespace leat::detail {

void throw_no_place_for_stage()
{
    throw usage_error{
        "leat: a stage was to be started in a group whose limit leaves no place; give stages a group "
        "without a limit, and bound the work by their workers"};
}

void throw_no_workers()
{
    throw usage_error{"leat: the number of workers is positive"};
}

}  // namespace leat::detail
