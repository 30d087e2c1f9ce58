#include <leat/detail/inbox.hpp>

#include <leat/error.hpp>

namespace leat::detail {

void throw_ended_subscription()
{
    throw usage_error{
        "leat: this subscription is empty: it has been moved from, or was never made by subscribe()"};
}

}  // namespace leat::detail
