#include "cpu_count.hpp"

#include <leat/error.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace leat::detail {
namespace {

std::size_t cores()
{
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        return static_cast<std::size_t>(std::max(1, CPU_COUNT(&allowed)));
#endif
    return std::max(1U, std::thread::hardware_concurrency());
}

std::optional<double> number_in(const char* path)
{
    std::ifstream file{path};
    double value = 0;
    if (file >> value)
        return value;
    return std::nullopt;
}

/// The CPUs that the control group grants, if it limits them.
std::optional<double> quota()
{
    // Version 2: "max 100000" or "150000 100000".
    if (std::ifstream file{"/sys/fs/cgroup/cpu.max"}) {
        std::string granted;
        double period = 0;
        if (file >> granted >> period && granted != "max" && period > 0)
            return std::strtod(granted.c_str(), nullptr) / period;
        return std::nullopt;
    }
    const auto granted = number_in("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    const auto period = number_in("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (granted && period && *granted > 0 && *period > 0)
        return *granted / *period;
    return std::nullopt;
}

}  // namespace

std::size_t default_workers()
{
    if (const char* const wish = std::getenv("LEAT_WORKERS"); wish != nullptr && *wish != '\0') {
        std::size_t count = 0;
        const char* const end = wish + std::strlen(wish);
        const auto [stopped, failed] = std::from_chars(wish, end, count);
        if (failed != std::errc{} || stopped != end || count == 0 || count > 4096)
            throw usage_error{"leat: LEAT_WORKERS is \"" + std::string{wish} +
                              "\"; it is the number of worker threads, from 1 to 4096"};
        return count;
    }
    const std::size_t most = cores();
    if (const auto granted = quota())
        return std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil(*granted)), 1, most);
    return most;
}

}  // namespace leat::detail
