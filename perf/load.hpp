// Rows over TCP: the load_client, which lies beside the program, and what its run costs the server. For leat's own
// program and for rivals in C++.
#pragma once

#include "process.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <sys/resource.h>

namespace perf {

/// What is asked of the server.
struct load {
    const char* what;  ///< echo or accept
    int connections;
    std::int64_t amount;
};

/// How it went.
struct load_result {
    double per_second;
    double server_us;  ///< processor time of this process for each
};

/// Runs the client against a server of this process, and blocks until it has ended. Throws std::runtime_error.
inline load_result run_load(const load& wanted, int port)
{
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    const std::string command = "exec '" + (here / "load_client").string() + "' " + wanted.what + " " +
                                std::to_string(port) + " " + std::to_string(wanted.connections) + " " +
                                std::to_string(wanted.amount);
    const auto before = processor_time();
    std::FILE* const client = popen(command.c_str(), "r");
    if (client == nullptr)
        throw std::runtime_error{"can not start load_client"};
    double taken = 0;
    const bool told = std::fscanf(client, "%lf", &taken) == 1;
    const auto used = processor_time() - before;
    if (pclose(client) != 0 || !told || taken <= 0)
        throw std::runtime_error{"load_client has failed"};
    const auto amount = static_cast<double>(wanted.amount);
    return {amount / taken, std::chrono::duration<double, std::micro>{used}.count() / amount};
}

}  // namespace perf
