# libgptoss_cuda: every kernels/cuda/*.cu in one shared library, which the addon opens at run time. Where it cannot be
# built, OSS_CUDA_ABSENT says why and everything else is built without it.
option(OSS_CUDA "build libgptoss_cuda when there is an nvcc" ON)
# N or Na or Nf: machine code of that architecture; N-virtual: PTX, which the driver compiles for any later one;
# "native": the GPUs of this machine; "release": what is published.
set(OSS_CUDA_ARCHITECTURES "80;90a" CACHE STRING "architectures of libgptoss_cuda")

set(OSS_CUDA_OLDEST_NVCC 12.4)
function(oss_find_cuda)
  set(absent "")
  find_program(OSS_NVCC NAMES ${CMAKE_CUDA_COMPILER} $ENV{CUDACXX} nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda
    PATH_SUFFIXES bin)
  if(NOT OSS_CUDA)
    set(absent "switched off with OSS_CUDA")
  elseif(OSS_SANITIZE)
    set(absent "sanitizers see no device code")
  elseif(CMAKE_CROSSCOMPILING OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    set(absent "built on Linux for the same machine only")
  elseif(NOT OSS_NVCC)
    set(absent "no nvcc on PATH or in /usr/local/cuda/bin")
  else()
    execute_process(COMMAND ${OSS_NVCC} --version OUTPUT_VARIABLE version ERROR_VARIABLE version)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" version "${version}")
    set(version "${CMAKE_MATCH_1}")
    if(version VERSION_LESS OSS_CUDA_OLDEST_NVCC)
      set(absent "${OSS_NVCC} has version ${version}, needed is ${OSS_CUDA_OLDEST_NVCC}")
    elseif(NOT OSS_NVCC STREQUAL OSS_NVCC_TRIED)  # a g++ newer than it knows, for example
      file(WRITE ${CMAKE_BINARY_DIR}/nvcc-works.cu "#include <cuda_runtime.h>\n__global__ void kernel() {}\n")
      execute_process(COMMAND ${OSS_NVCC} -std=c++20 -c nvcc-works.cu -o nvcc-works.o WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
        RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
      if(failed)
        string(REGEX MATCH "[^\n]*error[^\n]*" line "${said}")
        set(absent "${OSS_NVCC} compiles nothing here: ${line}")
      else()
        set(OSS_NVCC_TRIED ${OSS_NVCC} CACHE INTERNAL "an nvcc that works")
      endif()
    endif()
  endif()
  if(absent)
    unset(OSS_NVCC CACHE)  # looked for anew when CMake runs again
  endif()
  set(OSS_CUDA_ABSENT "${absent}" PARENT_SCOPE)
  set(OSS_NVCC_VERSION "${version}" PARENT_SCOPE)
endfunction()

# The architectures that were asked for, as a list of N, Na, Nf and N-virtual.
function(oss_cuda_architectures out)
  set(list ${OSS_CUDA_ARCHITECTURES})
  if(list STREQUAL "release")
    set(list 80 90a 100f 120f 80-virtual)
  elseif(list STREQUAL "native")
    get_filename_component(folder ${CMAKE_CUDA_COMPILER} DIRECTORY)
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
      OUTPUT_VARIABLE said ERROR_QUIET RESULT_VARIABLE failed)
    if(failed)
      execute_process(COMMAND ${folder}/__nvcc_device_query OUTPUT_VARIABLE said ERROR_QUIET RESULT_VARIABLE failed)
    endif()
    string(REPLACE "." "" said "${said}")
    string(REGEX MATCHALL "[0-9]+" list "${said}")
    list(REMOVE_DUPLICATES list)
    list(TRANSFORM list APPEND "a" REGEX "^(9|1[0-9])[0-9]$")  # all that the chip has, for no other one
    if(failed OR NOT list)
      message(FATAL_ERROR "OSS_CUDA_ARCHITECTURES=native, but nvidia-smi and __nvcc_device_query see no GPU here")
    endif()
  endif()
  foreach(architecture IN LISTS list)
    if(NOT architecture MATCHES "^[0-9]+([af]?|-virtual)$")
      message(FATAL_ERROR "Expected N, Na, Nf, N-virtual, \"native\" or \"release\" in OSS_CUDA_ARCHITECTURES but "
        "received \"${architecture}\"")
    endif()
  endforeach()
  set(${out} ${list} PARENT_SCOPE)
endfunction()

oss_find_cuda()
if(OSS_CUDA_ABSENT)
  return()
endif()

set(CMAKE_CUDA_COMPILER ${OSS_NVCC})
set(CMAKE_CUDA_ARCHITECTURES OFF)  # CMake 3.25 knows no "90a"; -gencode below
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # nor that nvcc speaks C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

file(GLOB OSS_CUDA_SOURCES CONFIGURE_DEPENDS kernels/cuda/*.cu)
add_library(gptoss_cuda MODULE EXCLUDE_FROM_ALL ${OSS_CUDA_SOURCES})
set_target_properties(gptoss_cuda PROPERTIES
  CUDA_RUNTIME_LIBRARY Static
  CUDA_VISIBILITY_PRESET hidden
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})  # beside oss_tests
oss_cuda_architectures(architectures)
foreach(architecture IN LISTS architectures)
  if(architecture MATCHES "^([0-9]+)-virtual$")
    target_compile_options(gptoss_cuda PRIVATE
      "SHELL:-gencode arch=compute_${CMAKE_MATCH_1},code=compute_${CMAKE_MATCH_1}")
  else()
    target_compile_options(gptoss_cuda PRIVATE "SHELL:-gencode arch=compute_${architecture},code=sm_${architecture}")
  endif()
endforeach()
list(JOIN architectures "\\;" architectures)
target_compile_definitions(gptoss_cuda PRIVATE "OSS_CUDA_ARCHITECTURES=\"${architectures}\"")
target_compile_options(gptoss_cuda PRIVATE
  "SHELL:-Werror all-warnings" "SHELL:-Xcompiler -Wall,-Wextra" --expt-relaxed-constexpr)
if(NOT OSS_NVCC_VERSION VERSION_LESS 12.8)
  target_compile_options(gptoss_cuda PRIVATE --compress-mode=size)  # a sixth
endif()
target_link_options(gptoss_cuda PRIVATE -Wl,--exclude-libs,ALL -s)
