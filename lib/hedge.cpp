#include <leat/flow/hedge.hpp>

#include <leat/error.hpp>

namespace leat::detail {

void throw_bad_hedge()
{
    throw usage_error{"leat: a hedge_policy allows at least one attempt"};
}

}  // namespace leat::detail
