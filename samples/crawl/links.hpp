#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace crawl {

/// What the href and src attributes of a page of HTML say, in their order. Not what is in comments.
std::vector<std::string> links_of(std::string_view html);

}  // namespace crawl
