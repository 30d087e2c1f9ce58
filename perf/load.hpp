// Rows over TCP: the load_client, which lies beside the program, and what its run costs the server. For leat's own
// programs and for rivals in C++.
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
#include <sys/wait.h>

namespace perf {

/// What is asked of the server.
struct load {
    const char* what;  ///< a word that load_client knows
    int connections;
    std::int64_t amount;
    int ahead = 1;  ///< how many requests a client sends before it looks at an answer
};

/// How it went.
struct load_result {
    double per_second;
    double server_us;  ///< processor time of the server for each
};

/// Runs the client against a server of this process, or of the one whose clock is given, and blocks until it has ended.
/// Throws std::runtime_error; lacking if the client needs a tool that is not there.
inline load_result run_load(const load& wanted, int port, clockid_t server = CLOCK_PROCESS_CPUTIME_ID)
{
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    const std::string command = "exec '" + (here / "load_client").string() + "' " + wanted.what + " " +
                                std::to_string(port) + " " + std::to_string(wanted.connections) + " " +
                                std::to_string(wanted.amount) + " " + std::to_string(wanted.ahead);
    const auto before = processor_time(server);
    std::FILE* const client = popen(command.c_str(), "r");
    if (client == nullptr)
        throw std::runtime_error{"can not start load_client"};
    double taken = 0;
    double amount = 0;
    const bool told = std::fscanf(client, "%lf %lf", &taken, &amount) == 2;
    const auto used = processor_time(server) - before;
    const int status = pclose(client);
    if (WIFEXITED(status) && WEXITSTATUS(status) == exit_lacking)
        throw lacking{"load_client lacks something"};
    if (status != 0 || !told || taken <= 0 || amount <= 0)
        throw std::runtime_error{"load_client has failed"};
    return {amount / taken, std::chrono::duration<double, std::micro>{used}.count() / amount};
}

}  // namespace perf
