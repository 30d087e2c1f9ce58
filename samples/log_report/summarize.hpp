#pragma once

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

/// Reads the files, and prints the report. Result: whether all could be read.
leat::task<bool> fulfil(const order& asked);

}  // namespace log_report
