#pragma once

#include <leat/sim.hpp>

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <unistd.h>
#include <utility>

/// Catches what is printed on standard output for as long as it lives.
class captured_output {
public:
    captured_output() : file_{std::tmpfile()}, before_{::dup(STDOUT_FILENO)}
    {
        REQUIRE(file_ != nullptr);
        std::fflush(stdout);
        ::dup2(::fileno(file_), STDOUT_FILENO);
    }
    captured_output(const captured_output&) = delete;
    captured_output& operator=(const captured_output&) = delete;
    ~captured_output()
    {
        std::fflush(stdout);
        ::dup2(before_, STDOUT_FILENO);
        ::close(before_);
        std::fclose(file_);
    }

    std::string text()
    {
        std::fflush(stdout);
        std::string all;
        std::rewind(file_);
        for (int c; (c = std::fgetc(file_)) != EOF;)
            all += static_cast<char>(c);
        return all;
    }

private:
    std::FILE* file_;
    int before_;
};

struct performance {
    std::string printed;
    leat::clock::duration taken;
    std::size_t left_over;  ///< tasks that have not ended
};

/// Runs a scene in a world of its own.
inline performance perform(leat::task<> scene, std::uint64_t seed = 1)
{
    leat::sim::world world{seed};
    captured_output output;
    world.run(std::move(scene));
    return {output.text(), world.now(), world.live_tasks()};
}

// What follows is a sample's source, whose main() is not the program's here, and has no implicit return.
#define main sample_main
#pragma GCC diagnostic ignored "-Wreturn-type"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wsubobject-linkage"  // its lambdas are local, as they should be
#endif
