#pragma once

#include "response.hpp"
#include "url.hpp"

#include <leat/task.hpp>

namespace crawl {

/// Asks for a page, over a connection of its own. Throws std::system_error, std::runtime_error; protocol_error.
leat::task<response> fetch(url where);

}  // namespace crawl
