#pragma once

#include <leat/leat.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace digest {

/// What is asked for.
struct request {
    std::string algorithm = "sha256";
    std::size_t workers = 0;         ///< how many files are digested at a time
    bool keep_going = false;         ///< past what can not be read
    std::vector<std::string> roots;  ///< what is to be digested,
    std::string list;                ///< or, if this is not empty, the list of sums to be checked
};

/// How far it has come: also when it ends early.
struct tally {
    std::atomic<std::uint64_t> bytes{0};  ///< read, by all workers
    std::uint64_t files = 0;              ///< digested
    std::uint64_t printed = 0;            ///< lines that have reached standard output
    std::uint64_t unreadable = 0;
    std::uint64_t mismatched = 0;    ///< files that have another sum than the list says
    std::uint64_t misformatted = 0;  ///< lines of the list that are none
};

/// Does what is asked for, and prints the result.
///
/// Throws  std::runtime_error: something can not be read, and it shall not, or can not, keep going.
leat::task<> fulfil(const request& asked, tally& done);

}  // namespace digest
