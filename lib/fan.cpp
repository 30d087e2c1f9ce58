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

void throw_no_order()
{
    throw usage_error{
        "leat: a fan_out gives on what is done, in no order; from(in) | map(f, {.ordered = true}) keeps it"};
}

}  // namespace leat::detail
