#pragma once

#include "../common/output.hpp"
#include "report.hpp"

#include <leat/leat.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace log_report {

struct order {
    std::vector<std::string> files;  ///< "-" is the standard input
    std::size_t workers = 2;
    report_options options;
    bool json = false;
};

using screen = leat::guarded<common::output>;

/// Reads the files, and counts what is in them; complaints and progress go to `shared`. Result: whether all could be
/// read.
leat::task<bool> count(const order& asked, screen& shared, report& into);

/// The same, and prints the report.
leat::task<bool> fulfil(const order& asked);

}  // namespace log_report
